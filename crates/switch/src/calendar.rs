//! Dates of the civil calendar from milliseconds, and back: the core has no clock and no library of dates.

const DAY_MS: u64 = 86_400_000;

/// A moment in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    /// 1 to 366.
    day_of_year: u64,
    ms_of_day: u64,
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_in(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the first day of a year.
const fn days_before(year: u64) -> u64 {
    let past = year - 1;
    past * 365 + past / 4 - past / 100 + past / 400 - 719_162
}

fn civil(wall_ms: u64) -> Civil {
    let days = wall_ms / DAY_MS;
    let mut year = 1970 + days / 366;
    while days_before(year + 1) <= days {
        year += 1;
    }
    let day_of_year = days - days_before(year);
    let (mut month, mut day) = (1, day_of_year);
    while day >= days_in(year, month) {
        day -= days_in(year, month);
        month += 1;
    }
    Civil { year, month, day: day + 1, day_of_year: day_of_year + 1, ms_of_day: wall_ms % DAY_MS }
}

fn put_two(out: &mut [u8], value: u64) {
    out[0] = b'0' + (value / 10 % 10) as u8;
    out[1] = b'0' + (value % 10) as u8;
}

/// DE7: MMDDhhmmss.
pub(crate) fn transmitted(wall_ms: u64) -> [u8; 10] {
    let at = civil(wall_ms);
    let seconds = at.ms_of_day / 1000;
    let mut out = [b'0'; 10];
    for (place, value) in [at.month, at.day, seconds / 3600, seconds / 60 % 60, seconds % 60].into_iter().enumerate() {
        put_two(&mut out[place * 2..], value);
    }
    out
}

/// The last digit of the year and the day of the year, for RRNs: YDDD.
pub(crate) fn year_day(wall_ms: u64) -> [u8; 4] {
    let at = civil(wall_ms);
    let digit = |value: u64| b'0' + (value % 10) as u8;
    [digit(at.year), digit(at.day_of_year / 100), digit(at.day_of_year / 10), digit(at.day_of_year)]
}

/// How long before `wall_ms` the moment MMDDhhmmss was, in milliseconds: 0 for a moment in the future, `None` for digits
/// that are no moment. The year is the one that brings it nearest.
pub(crate) fn age_ms(wall_ms: u64, month_to_second: &[u8; 10]) -> Option<u64> {
    let two = |at: usize| -> Option<u64> {
        let digits = month_to_second.get(at..at + 2)?;
        digits.iter().all(u8::is_ascii_digit).then(|| u64::from(digits[0] - b'0') * 10 + u64::from(digits[1] - b'0'))
    };
    let (month, day, hour, minute, second) = (two(0)?, two(2)?, two(4)?, two(6)?, two(8)?);
    if !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let this_year = civil(wall_ms).year;
    let moment = |year: u64| -> Option<u64> {
        if year < 1970 || day == 0 || day > days_in(year, month) {
            return None;
        }
        let days = days_before(year) + (1..month).map(|m| days_in(year, m)).sum::<u64>() + day - 1;
        Some(days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000)
    };
    let nearest =
        [this_year - 1, this_year, this_year + 1].into_iter().filter_map(moment).min_by_key(|at| at.abs_diff(wall_ms))?;
    Some(wall_ms.saturating_sub(nearest))
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    /// 2026-11-22 07:08:09.123 UTC.
    const NOW: u64 = 1_795_331_289_123;

    #[test]
    fn moments_are_written_as_iso_8583_has_them() {
        let check = |wall_ms: u64, de7: &[u8; 10], yddd: &[u8; 4]| {
            assert_eq!(&transmitted(wall_ms), de7, "at {wall_ms}");
            assert_eq!(&year_day(wall_ms), yddd, "at {wall_ms}");
        };
        check(0, b"0101000000", b"0001");
        check(NOW, b"1122070809", b"6326");
        check(951_782_399_999, b"0228235959", b"0059");
        check(951_782_400_000, b"0229000000", b"0060");
        check(1_735_689_599_000, b"1231235959", b"4366");
        check(4_102_444_800_000, b"0101000000", b"0001");
    }

    #[test]
    fn the_age_of_a_moment_takes_the_nearest_year() {
        let check = |digits: &[u8; 10], age: Option<u64>| assert_eq!(age_ms(NOW, digits), age, "{digits:?}");
        check(b"1122070809", Some(123));
        check(b"1122070709", Some(60_123));
        check(b"1122080809", Some(0));
        check(b"0101000000", Some(0));
        check(b"1332000000", None);
        check(b"0230000000", None);
        check(b"112207080x", None);
    }

    /// Every day of 150 years, counted one by one.
    #[test]
    fn every_day_follows_the_one_before_it() {
        let days_of = |year: u64| {
            let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
            [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        };
        let mut day_ms = 0;
        for year in 1970..2120 {
            let mut of_year = 0;
            for (month, days) in (1..).zip(days_of(year)) {
                for day in 1..=days {
                    of_year += 1;
                    let (last_ms, yddd) = (day_ms + DAY_MS - 1, format!("{}{of_year:03}", year % 10));
                    assert_eq!(transmitted(day_ms), format!("{month:02}{day:02}000000").as_bytes());
                    assert_eq!(transmitted(last_ms), format!("{month:02}{day:02}235959").as_bytes());
                    assert_eq!(year_day(day_ms), yddd.as_bytes());
                    assert_eq!(year_day(last_ms), yddd.as_bytes());
                    assert_eq!(age_ms(last_ms, &transmitted(day_ms)), Some(DAY_MS - 1), "{month}-{day} of {year}");
                    day_ms += DAY_MS;
                }
            }
        }
    }

    #[test]
    fn what_is_no_moment_has_no_age_and_the_turn_of_the_year_is_one_second() {
        for digits in [
            b"0022070809",
            b"1300070809",
            b"1100070809",
            b"1131070809",
            b"1122240000",
            b"1122076000",
            b"1122070060",
            b"0229000000",
            b"x122070809",
            b"11x2070809",
            b"112x070809",
            b"11220:0809",
            b"112207080/",
        ] {
            assert_eq!(age_ms(NOW, digits), None, "{}", core::str::from_utf8(digits).unwrap());
        }
        for (digits, age) in [(b"1122070800", 9_123), (b"1122000000", 25_689_123), (b"1121235959", 25_690_123)] {
            assert_eq!(age_ms(NOW, digits), Some(age));
        }
        let new_year = 1_767_225_600_000;
        assert_eq!(age_ms(new_year, b"1231235959"), Some(1000));
        assert_eq!(age_ms(new_year - 1000, b"0101000000"), Some(0), "a second ahead is nearer than a year back");
        assert_eq!(age_ms(0, b"1231235959"), Some(0), "nothing is before 1970");
        let leap_day = 1_835_395_200_000;
        assert_eq!(age_ms(leap_day + 5, b"0229000000"), Some(5));
    }
}
