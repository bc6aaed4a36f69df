//! A share of a processor, as Lambda gives it to a function after its start.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Of a processor, with 256 MB of memory.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>: 1,769 MB are one processor.
const SHARE: f64 = 0.15;

/// Time on a processor in each period, in microseconds.
const QUOTA: &str = "3000";
const PERIOD: &str = "20000";

pub(crate) enum Throttle {
    /// A cgroup whose processes have the share together.
    Cgroup(PathBuf),
    /// Without the right to make a cgroup: CPU time at full speed, divided by the share, is the least that it takes.
    Accounting,
}

impl Throttle {
    pub(crate) fn new() -> Self {
        let both = format!("{QUOTA} {PERIOD}");
        let version_2 = ("/sys/fs/cgroup", vec![("cpu.max", both.as_str())]);
        let limits = vec![("cpu.cfs_period_us", PERIOD), ("cpu.cfs_quota_us", QUOTA)];
        let version_1 = ("/sys/fs/cgroup/cpu", limits);
        for (root, limits) in [version_2, version_1] {
            let name = format!("sqs-to-postgres-bench-{}", std::process::id());
            let folder = Path::new(root).join(name);
            if fs::create_dir(&folder).is_err() {
                continue;
            }
            let mut written = limits
                .iter()
                .map(|(file, text)| write(&folder.join(file), text));
            if written.all(|written| written.is_ok()) {
                return Self::Cgroup(folder);
            }
            fs::remove_dir(folder).ok();
        }
        Self::Accounting
    }

    /// From now on a process has only its share.
    pub(crate) fn slow_down(&self, process: u32) {
        if let Self::Cgroup(folder) = self {
            write(&folder.join("cgroup.procs"), &process.to_string()).unwrap();
        }
    }

    /// How long something takes with the share of a processor, that took this long after the process was slowed down.
    pub(crate) fn secs(&self, took: Duration, cpu_secs: f64) -> f64 {
        match self {
            Self::Cgroup(_) => took.as_secs_f64(),
            Self::Accounting => took.as_secs_f64().max(cpu_secs / SHARE),
        }
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Cgroup(_) => "by a cgroup".to_owned(),
            Self::Accounting => "CPU ÷ 0.15".to_owned(),
        }
    }
}

/// Without the controller of processors, a cgroup does not have its files.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(file)?;
    file.write_all(text.as_bytes())
}

impl Drop for Throttle {
    fn drop(&mut self) {
        if let Self::Cgroup(folder) = self {
            fs::remove_dir(folder).ok();
        }
    }
}
