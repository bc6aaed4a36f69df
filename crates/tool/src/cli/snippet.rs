//! An error on stderr; of a mistake in a mapping the line too, with a caret below its place.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use mapping::PipelineError;

use crate::cli::error::CliError;
use crate::cli::output::escaped;

/// Prints an error.
pub(crate) fn report(error: &CliError) {
    eprintln!("error: {}", escaped(&error.to_string()));
    if let CliError::Pipeline(error) = error
        && let Some(snippet) = snippet(error)
    {
        eprintln!("{snippet}");
    }
}

/// What to show below the sentence; `None` if the place is not known.
fn snippet(error: &PipelineError) -> Option<String> {
    let text = std::fs::read_to_string(&error.file).ok()?;
    let place = AnnotationKind::Primary.span(error.span(&text)?);
    let lines = Snippet::source(&text).path(&error.file).annotation(place);
    let report = [Group::with_level(Level::ERROR).element(lines)];
    let shown = Renderer::plain().render(&report);
    let shown: Vec<_> = shown.lines().map(escaped).collect();
    Some(shown.join("\n"))
}
