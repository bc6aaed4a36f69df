//! The words of `pipeline.toml`: each vocabulary is one table that is used to read, write and list its names.

/// A value with one name.
pub(crate) trait Word: Clone + PartialEq + 'static {
    /// Every value and its name, in the order in which an error lists them.
    const NAMES: &'static [(&'static str, Self)];

    fn parse(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, word)| word.clone())
    }

    fn name(&self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, word)| word == self);
        found.map_or("", |(name, _)| name)
    }

    fn list() -> String {
        let names: Vec<_> = Self::NAMES.iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }
}
