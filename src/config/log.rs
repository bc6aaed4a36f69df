//! The settings of the log.

use tracing::Level;

/// The format and level of the log, as Lambda's logging configuration sets them.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-logformat.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// `AWS_LAMBDA_LOG_FORMAT`: `Text` for people at a terminal; JSON lines otherwise.
    pub format: LogFormat,
    /// `AWS_LAMBDA_LOG_LEVEL`: `TRACE` to `FATAL`; `INFO` if it is unset or unknown.
    pub level: Level,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For reading.
    Text,
}

impl LogSettings {
    /// Reads the settings. Never fails, because without a log nobody would see the error.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let format = lookup("AWS_LAMBDA_LOG_FORMAT").unwrap_or_default();
        let level = lookup("AWS_LAMBDA_LOG_LEVEL").unwrap_or_default();
        Self {
            format: match format.eq_ignore_ascii_case("text") {
                true => LogFormat::Text,
                false => LogFormat::Json,
            },
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
            ("", "", LogFormat::Json, Level::INFO),
            ("Text", "debug", LogFormat::Text, Level::DEBUG),
            ("JSON", "FATAL", LogFormat::Json, Level::ERROR),
        ];
        for (format, level, expected_format, expected_level) in cases {
            let expected = LogSettings {
                format: expected_format,
                level: expected_level,
            };
            let lookup = |name: &str| match name {
                "AWS_LAMBDA_LOG_FORMAT" => Some(format.to_owned()),
                _ => Some(level.to_owned()),
            };
            assert_eq!(LogSettings::read(lookup), expected);
        }
        let unset = LogSettings::read(|_| None);
        assert_eq!((unset.format, unset.level), (LogFormat::Json, Level::INFO));
    }
}
