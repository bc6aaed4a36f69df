//! The known word that a misspelt one probably stands for, as rustc finds it.

use strsim::osa_distance;

/// The known word that differs least from `word`, if it is similar: at most a third of the letters differ,
/// and not all of them, ignoring case.
pub fn similar<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let lower = word.to_lowercase();
    let chars = lower.chars().count();
    let allowed = (chars.max(3) / 3).min(chars.saturating_sub(1));
    let distance = |known: &&str| osa_distance(&lower, &known.to_lowercase());
    let nearest = known.into_iter().min_by_key(distance)?;
    (distance(&nearest) <= allowed).then_some(nearest)
}

/// `; did you mean "required"?`, or nothing if no known word is similar.
pub fn did_you_mean<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> String {
    let similar = similar(word, known);
    similar.map_or_else(String::new, |known| format!("; did you mean {known:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_suggests_the_one_that_was_meant() {
        let known = ["type", "required", "detail.battery", "lone_surrogate"];
        let meant = |word| similar(word, known);
        assert_eq!(meant("typ"), Some("type"));
        assert_eq!(meant("Requierd"), Some("required"));
        assert_eq!(meant("detail.batery"), Some("detail.battery"));
        assert_eq!(meant("integer"), None);
        assert_eq!(similar("t", ["", "m"]), None);
        assert_eq!(did_you_mean("typ", known), "; did you mean \"type\"?");
        assert_eq!(did_you_mean("", known), "");
    }
}
