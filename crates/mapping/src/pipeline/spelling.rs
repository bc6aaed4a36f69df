//! `unit`, `format`, `zone`: the words of a column that say how its times are written.

use super::{Problem, Source};
use crate::text::Word as _;
use crate::time::{TimeFormat, TimeSpelling, TimeType, Unit, Zone};
use crate::types::ColumnType;

/// The words as the file has them.
pub(super) struct RawSpelling {
    pub(super) unit: Option<String>,
    pub(super) format: Option<String>,
    pub(super) zone: Option<String>,
}

impl RawSpelling {
    pub(super) fn check(
        self,
        column_type: ColumnType,
        sources: &[Source],
    ) -> Result<Option<TimeSpelling>, Problem> {
        let Some(word) = self.first_word() else {
            return Ok(None);
        };
        let time_type = column_type.single().time_type();
        let time_type = time_type.ok_or(Problem::SpellingType(word, column_type))?;
        // Beside a path it is a fallback, which needs no word.
        match sources.first() {
            Some(source) if !sources.iter().any(Source::may_be_text) => {
                return Err(Problem::SpellingOn(word, source.to_string()));
            }
            _ => {}
        }
        if self.zone.is_some() && time_type != TimeType::TimestampTz {
            return Err(Problem::ZoneType(column_type));
        }
        let zone = self.zone.map(zone_of).transpose()?;
        Ok(match (self.unit, self.format, zone) {
            (Some(_), Some(_), _) => return Err(Problem::UnitAndFormat),
            (Some(_), None, Some(_)) => return Err(Problem::UnitAndZone),
            (Some(unit), None, None) => Some(TimeSpelling::Unit(unit_of(unit, time_type)?)),
            (None, Some(format), zone) => {
                let checked = TimeFormat::new(format.clone(), zone, time_type);
                let checked = checked.map_err(|mistake| Problem::Format(format, mistake));
                Some(TimeSpelling::Format(checked?))
            }
            (None, None, zone) => zone.map(TimeSpelling::Zone),
        })
    }

    fn first_word(&self) -> Option<&'static str> {
        let words = [
            ("unit", &self.unit),
            ("format", &self.format),
            ("zone", &self.zone),
        ];
        words
            .into_iter()
            .find_map(|(word, value)| value.is_some().then_some(word))
    }
}

fn unit_of(name: String, time_type: TimeType) -> Result<Unit, Problem> {
    match Unit::parse(&name) {
        None => Err(Problem::UnknownUnit(name)),
        Some(Unit::Days) if time_type == TimeType::Time => Err(Problem::DaysOfTime),
        Some(unit) => Ok(unit),
    }
}

fn zone_of(name: String) -> Result<Zone, Problem> {
    Zone::named(&name).ok_or(Problem::UnknownZone(name))
}
