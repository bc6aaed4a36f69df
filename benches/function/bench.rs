//! What every measurement needs.

use std::path::{Path, PathBuf};

use crate::contender::Contender;
use crate::database::Database;
use crate::limits::Limit;
use crate::messages::Workload;
use crate::record::Record;
use crate::settings::Effort;
use testkit::{MASK_KEY, Setup};

/// The names under which figures are kept.
pub(crate) const COPY: &str = "binary COPY";
pub(crate) const INSERT: &str = "INSERT … unnest";
pub(crate) const OURS: &str = "sqs-to-postgres";

/// The functions of `benches/peers/`.
const PEERS: [(&str, &str); 2] = [
    ("tuned Python", "tuned.py"),
    ("Powertools for Python", "powertools.py"),
];

pub(crate) struct Bench {
    pub(crate) database: Database,
    pub(crate) ours: Setup,
    /// What the peers run on, if they take part.
    pub(crate) python: Option<PathBuf>,
    pub(crate) effort: Effort,
    pub(crate) record: Record,
}

impl Bench {
    /// Limits, of which the first is the measure of the others, and the functions.
    pub(crate) fn contenders<'a>(
        &self,
        limits: &[(&'static str, Limit)],
        url: &str,
        workload: &'a Workload,
    ) -> Vec<Contender<'a>> {
        let limits = limits.iter();
        let limits = limits.map(|&(name, limit)| Contender::limit(name, limit, url, workload));
        let functions = self.functions(url);
        let functions = functions.map(|(name, setup)| Contender::function(name, setup, workload));
        limits.chain(functions).collect()
    }

    pub(crate) fn functions(&self, url: &str) -> impl Iterator<Item = (&'static str, Setup)> {
        let ours = (OURS, self.ours.clone().set("DATABASE_URL", url));
        let peers = PEERS
            .into_iter()
            .filter_map(|(name, script)| Some((name, peer(self.python.as_deref()?, script, url))));
        std::iter::once(ours).chain(peers)
    }
}

/// A build of the function.
pub(crate) fn ours(program: &str, database_url: &str) -> Setup {
    function(vec![program.into()], database_url)
}

/// A script of `benches/peers/`.
fn peer(python: &Path, script: &str, database_url: &str) -> Setup {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
    function(vec![python.to_owned(), folder.join(script)], database_url)
}

fn function(command: Vec<PathBuf>, database_url: &str) -> Setup {
    let setup = Setup::bare().without_extensions().command(command);
    setup
        .set("DATABASE_URL", database_url)
        .set("MASK_KEY", MASK_KEY)
}
