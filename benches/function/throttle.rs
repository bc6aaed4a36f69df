//! A share of one processor, as Lambda gives it to a function of a certain memory: by a control group.
//! Source: <https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files>, and of its older version
//! <https://docs.kernel.org/scheduler/sched-bwc.html#management>.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A function of 256 MB has 256 of the 1,769 parts of a core: these microseconds of each period.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>.
const QUOTA_MICROS: u32 = 2_894;
const PERIOD_MICROS: u32 = 20_000;

/// Where the controller of processors is mounted in the older version, and where all are in the newer one.
const OLDER: &str = "/sys/fs/cgroup/cpu";
const NEWER: &str = "/sys/fs/cgroup";

/// Processes that have the share together, until it is dropped.
pub(crate) struct Throttle(PathBuf);

impl Throttle {
    /// Needs the right to make control groups, which only root has by default.
    pub(crate) fn create() -> io::Result<Self> {
        let is_older = Path::new(OLDER).is_dir();
        let parent = Path::new(if is_older { OLDER } else { NEWER });
        let throttle = Self(parent.join(format!("sqs-to-postgres-bench-{}", std::process::id())));
        fs::create_dir(&throttle.0)?;
        let limits = match is_older {
            true => vec![
                ("cpu.cfs_period_us", PERIOD_MICROS.to_string()),
                ("cpu.cfs_quota_us", QUOTA_MICROS.to_string()),
            ],
            false => vec![("cpu.max", format!("{QUOTA_MICROS} {PERIOD_MICROS}"))],
        };
        for (file, limit) in limits {
            fs::write(throttle.0.join(file), limit)?;
        }
        Ok(throttle)
    }

    pub(crate) fn add(&self, process: u32) {
        fs::write(self.0.join("cgroup.procs"), process.to_string()).unwrap();
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // Fails while a process of it has not ended; then it is left, and limits nothing.
        fs::remove_dir(&self.0).ok();
    }
}
