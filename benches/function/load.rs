//! Who used the processors, from `/proc`: Postgres, the bench with its functions, and others.
//! Source: <https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>.

use std::fs;
use std::path::Path;

/// On all architectures.
const TICKS_PER_SEC: f64 = 100.0;

/// Threads of the kernel are its children; they mostly write what Postgres stores.
const KERNEL_THREADS: u32 = 2;

/// Of the processors' time, above which a round counts as disturbed.
const DISTURBED_PERCENT: f64 = 5.0;

/// The processors' time when a round starts.
pub(crate) struct Watch {
    postmaster: u32,
    all: f64,
    steal: f64,
    others: f64,
}

impl Watch {
    pub(crate) fn start(postmaster: u32) -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap();
        let line = stat.lines().next().unwrap();
        let fields = line.split_whitespace().skip(1);
        let ticks: Vec<f64> = fields.map(|ticks| ticks.parse().unwrap()).collect();
        let [user, nice, system, idle, waiting, irq, softirq, steal] = ticks[..8] else {
            unreachable!("eight fields");
        };
        let busy = user + nice + system + irq + softirq;
        // Of functions that still run: the others have ended.
        let functions = children(std::process::id()).map(|(_, function)| function.ticks);
        let own = Process::read(std::process::id()).map_or(0.0, |own| own.ticks + own.ended_ticks);
        let own = own + functions.sum::<f64>();
        let postgres = cpu_secs_with_children(postmaster) * TICKS_PER_SEC;
        let kernel: f64 = children(KERNEL_THREADS)
            .map(|(_, thread)| thread.ticks)
            .sum();
        Self {
            postmaster,
            all: busy + idle + waiting + steal,
            steal,
            others: busy - own - postgres - kernel,
        }
    }

    /// Whether the round was disturbed: by the hypervisor, which gave time to other machines, or by processes other than
    /// the bench, its functions, Postgres and the kernel's threads.
    pub(crate) fn was_disturbed(self) -> bool {
        let now = Self::start(self.postmaster);
        let time = (now.steal - self.steal).max(0.0) + (now.others - self.others).max(0.0);
        100.0 * time / (now.all - self.all).max(1.0) > DISTURBED_PERCENT
    }
}

/// Seconds of processor time of Postgres: of its processes, and of those that have ended.
pub(crate) fn cpu_secs_with_children(postmaster: u32) -> f64 {
    let secs = |process: u32| secs_on_processor(&Path::new("/proc").join(process.to_string()));
    let running = children(postmaster).map(|(process, _)| secs(process));
    let running = running.sum::<f64>() + secs(postmaster);
    let ended = Process::read(postmaster).map_or(0.0, |process| process.ended_ticks);
    running + ended / TICKS_PER_SEC
}

/// Seconds of processor time of a process and its threads, those that have ended included: also of a process that has
/// ended itself and was not waited for.
pub(crate) fn cpu_secs(process: u32) -> f64 {
    Process::read(process).map_or(0.0, |process| process.ticks / TICKS_PER_SEC)
}

pub(crate) fn parent_of(process: i32) -> Option<u32> {
    Some(Process::read(process.try_into().ok()?)?.parent)
}

/// Of a thread, or a process with one, by its folder; more precise than its ticks.
/// Source: <https://docs.kernel.org/scheduler/sched-stats.html#proc-pid-schedstat>.
fn secs_on_processor(folder: &Path) -> f64 {
    let schedstat = fs::read_to_string(folder.join("schedstat")).unwrap_or_default();
    let nanos = schedstat
        .split(' ')
        .next()
        .and_then(|nanos| nanos.parse().ok());
    nanos.unwrap_or(0.0) / 1e9
}

/// Seconds that its threads have run on a processor, for the user and the system.
pub(crate) fn secs_of_threads(process: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let secs = threads.map(|thread| secs_on_processor(&thread.unwrap().path()));
    secs.sum()
}

/// Until the process has ended.
pub(crate) fn peak_mib(process: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let (_, peak) = status.split_once("VmHWM:")?;
    let kib: f64 = peak.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

fn children(parent: u32) -> impl Iterator<Item = (u32, Process)> {
    let folders = fs::read_dir("/proc").unwrap();
    let numbers = folders.filter_map(|folder| folder.ok()?.file_name().to_str()?.parse().ok());
    let processes = numbers.filter_map(|number| Some((number, Process::read(number)?)));
    processes.filter(move |(_, process)| process.parent == parent)
}

struct Process {
    parent: u32,
    /// In user mode and in the kernel.
    ticks: f64,
    /// Of its children that have ended.
    ended_ticks: f64,
}

impl Process {
    /// `None` if there is none.
    fn read(number: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
        // From the third field on: the second one, the name, may hold anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            ticks: field(14)? + field(15)?,
            ended_ticks: field(16)? + field(17)?,
        })
    }
}
