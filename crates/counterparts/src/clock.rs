//! Calendar fields from a given instant.
//!
//! Not a clock: the time comes in as milliseconds since 1970-01-01 UTC. Invariant: the same
//! instant always gives the same digits.

/// The date and time fields of one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    year: i64,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

impl Calendar {
    /// The calendar of `unix_ms` (milliseconds since 1970, UTC), shifted by `offset_minutes` to
    /// local time.
    #[must_use]
    pub fn at(unix_ms: u64, offset_minutes: i32) -> Self {
        let seconds = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX / 2);
        let seconds = seconds + i64::from(offset_minutes) * 60;
        let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        let of_day = u32::try_from(of_day).unwrap_or(0);
        Self { year, month, day, hour: of_day / 3600, minute: of_day / 60 % 60, second: of_day % 60 }
    }

    /// DE7: MMDDhhmmss (of the UTC calendar).
    #[must_use]
    pub fn de7(&self) -> String {
        format!("{}{}", self.de13(), self.de12())
    }

    /// DE12: hhmmss.
    #[must_use]
    pub fn de12(&self) -> String {
        format!("{:02}{:02}{:02}", self.hour, self.minute, self.second)
    }

    /// DE13: MMDD.
    #[must_use]
    pub fn de13(&self) -> String {
        format!("{:02}{:02}", self.month, self.day)
    }

    /// YYMM, the form of an expiry date (DE14).
    #[must_use]
    pub fn yymm(&self) -> String {
        format!("{:02}{:02}", self.year.rem_euclid(100), self.month)
    }

    /// `YYYY-MM-DD hh:mm:ss`, for people.
    #[must_use]
    pub fn readable(&self) -> String {
        format!("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", self.year, self.month, self.day, self.hour, self.minute, self.second)
    }
}

/// The proleptic Gregorian date of a day number, day 0 being 1970-01-01. Eras of 400 years that
/// start in March put the leap day last, so that months follow a linear formula.
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, u32::try_from(month).unwrap_or(1), u32::try_from(day).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(unix_ms: u64, offset_minutes: i32, expected: &str) {
        assert_eq!(Calendar::at(unix_ms, offset_minutes).readable(), expected);
    }

    #[test]
    fn known_instants() {
        check(0, 0, "1970-01-01 00:00:00");
        check(951_782_400_000, 0, "2000-02-29 00:00:00");
        check(1_709_251_199_999, 0, "2024-02-29 23:59:59");
        check(1_709_251_199_999, 1, "2024-03-01 00:00:59");
        check(1_767_225_600_000, -60, "2025-12-31 23:00:00");
        check(4_107_542_400_000, 0, "2100-03-01 00:00:00");
    }

    #[test]
    fn fields_of_an_instant() {
        let calendar = Calendar::at(1_709_251_199_999, 0);
        assert_eq!(calendar.de7(), "0229235959");
        assert_eq!(calendar.de12(), "235959");
        assert_eq!(calendar.de13(), "0229");
        assert_eq!(calendar.yymm(), "2402");
    }
}
