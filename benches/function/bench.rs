//! What every measurement needs.

use std::path::PathBuf;

use crate::contender::Contender;
use crate::database::Database;
use crate::limits::Limit;
use crate::messages::Workload;
use crate::process::Launch;
use crate::record::Record;
use crate::settings::Effort;

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
    pub(crate) ours: Launch,
    /// What the peers run on, if they take part.
    pub(crate) python: Option<PathBuf>,
    pub(crate) effort: Effort,
    pub(crate) record: Record,
}

impl Bench {
    /// The two limits, of which the first is the measure of the others, and the functions.
    pub(crate) fn contenders<'a>(
        &self,
        limits: [(&'static str, Limit); 2],
        url: &str,
        workload: &'a Workload,
    ) -> Vec<Contender<'a>> {
        let limits = limits.map(|(name, limit)| Contender::limit(name, limit, url, workload));
        let functions = self.functions(url);
        let functions = functions.map(|(name, launch)| Contender::function(name, launch, workload));
        limits.into_iter().chain(functions).collect()
    }

    pub(crate) fn functions(&self, url: &str) -> impl Iterator<Item = (&'static str, Launch)> {
        let ours = (OURS, self.ours.clone().set("DATABASE_URL", url));
        let peers = PEERS.into_iter().filter_map(|(name, script)| {
            Some((name, Launch::peer(self.python.as_deref()?, script, url)))
        });
        std::iter::once(ours).chain(peers)
    }
}
