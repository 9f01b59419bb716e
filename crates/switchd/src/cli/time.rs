//! Moments and days in UTC, as people read and write them.

/// A moment in UTC, to the second.
pub(crate) fn utc(ms: u64) -> String {
    let (days, seconds) = (ms / 86_400_000, ms / 1_000 % 86_400);
    // Days since 0000-03-01, so that a leap day is the last of its year; eras of 400 years.
    let since = days + 719_468;
    let (era, of_era) = (since / 146_097, since % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The length of a day, milliseconds.
pub(crate) const DAY_MS: u64 = 86_400_000;

/// The beginning of a day in UTC, milliseconds since 1970; `None` for what is no date from 1970 to 9999.
pub(crate) fn day_ms(text: &str) -> Option<u64> {
    let mut parts = text.split('-');
    let mut number = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()))?;
        part.parse::<u64>().ok()
    };
    let (year, month, day) = (number(4)?, number(2)?, number(2)?);
    if parts.next().is_some() || year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // The reverse of `utc`: March is the first month.
    let (of_year, from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (of_year / 400, of_year % 400);
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * from_march + 2) / 5 + day - 1;
    let ms = days.checked_sub(719_468)? * DAY_MS;
    // The 31st of a month of 30 days is a day of the next.
    (utc(ms).get(..10) == Some(text)).then_some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_in_utc() {
        let check = |ms, expected: &str| assert_eq!(utc(ms), expected);
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_399_999, "2000-02-28T23:59:59Z");
        check(951_782_400_000, "2000-02-29T00:00:00Z");
        check(951_868_800_000, "2000-03-01T00:00:00Z");
        check(1_709_251_199_999, "2024-02-29T23:59:59Z");
        check(1_798_761_599_000, "2026-12-31T23:59:59Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00Z");
    }

    #[test]
    fn a_day_begins_at_midnight_in_utc() {
        let check = |text, ms| assert_eq!(day_ms(text), ms, "{text}");
        check("1970-01-01", Some(0));
        check("2000-02-29", Some(951_782_400_000));
        check("2026-12-31", Some(1_798_675_200_000));
        check("2100-03-01", Some(4_107_542_400_000));
        check("2001-02-29", None);
        check("2026-04-31", None);
        check("1969-12-31", None);
        check("2026-13-01", None);
        check("2026-1-01", None);
        check("2026-01-01-", None);
        check("today", None);
        for day in 0..60_000 {
            let ms = day * DAY_MS;
            assert_eq!(day_ms(&utc(ms)[..10]), Some(ms));
        }
    }
}
