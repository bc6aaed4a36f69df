//! The settings of the log.

use tracing::Level;

/// The format and level of the log, as Lambda's logging configuration sets them.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html>.
#[derive(Debug, Clone, Copy)]
pub struct LogSettings {
    /// `AWS_LAMBDA_LOG_FORMAT`: whether it is `Text`, for people at a terminal; JSON lines otherwise.
    pub is_text: bool,
    /// `AWS_LAMBDA_LOG_LEVEL`: `TRACE` to `FATAL`; `INFO` if it is unset or unknown.
    pub level: Level,
}

impl LogSettings {
    /// Reads the settings. Never fails, because without a log nobody would see the error.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let format = lookup("AWS_LAMBDA_LOG_FORMAT").unwrap_or_default();
        let level = lookup("AWS_LAMBDA_LOG_LEVEL").unwrap_or_default();
        Self {
            is_text: format.eq_ignore_ascii_case("text"),
            level: match level.eq_ignore_ascii_case("fatal") {
                true => Level::ERROR,
                false => level.parse().unwrap_or(Level::INFO),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_json_at_info_unless_lambda_says_otherwise() {
        let cases = [
            ("", "", false, Level::INFO),
            ("Text", "debug", true, Level::DEBUG),
            ("JSON", "FATAL", false, Level::ERROR),
        ];
        for (format, level, is_text, expected) in cases {
            let lookup = |name: &str| match name {
                "AWS_LAMBDA_LOG_FORMAT" => Some(format.to_owned()),
                _ => Some(level.to_owned()),
            };
            let read = LogSettings::read(lookup);
            assert_eq!((read.is_text, read.level), (is_text, expected));
        }
        let unset = LogSettings::read(|_| None);
        assert_eq!((unset.is_text, unset.level), (false, Level::INFO));
    }
}
