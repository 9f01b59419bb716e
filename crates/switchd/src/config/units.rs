//! Durations and sizes as a person writes them: `500ms`, `15s`, `10min`, `24h`, `3d`; `512B`, `64KiB`, `8MiB`, `1GiB`.
//!
//! Always with a unit, as a bare number has been read in the wrong one before.

/// What a duration looks like, for errors.
pub(crate) const DURATION: &str = "a duration such as \"500ms\", \"15s\", \"10min\", \"24h\" or \"3d\"";

/// What a size looks like, for errors.
pub(crate) const SIZE: &str = "a size such as \"512B\", \"64KiB\", \"8MiB\" or \"1GiB\"";

const DURATION_UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZE_UNITS: &[(&str, u64)] = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// A duration in milliseconds.
pub(crate) fn duration_ms(text: &str) -> Option<u64> {
    with_unit(text, DURATION_UNITS)
}

/// A size in bytes.
pub(crate) fn size_bytes(text: &str) -> Option<u64> {
    with_unit(text, SIZE_UNITS)
}

/// A duration in the largest unit that holds it without a rest.
pub(crate) fn show_duration(ms: u64) -> String {
    show(ms, DURATION_UNITS)
}

/// A size in the largest unit that holds it without a rest.
pub(crate) fn show_size(bytes: u64) -> String {
    show(bytes, SIZE_UNITS)
}

fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start_matches(' '))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn show(value: u64, units: &[(&str, u64)]) -> String {
    let fits = |unit: &&(&str, u64)| value != 0 && value.is_multiple_of(unit.1);
    let (name, factor) = units.iter().rev().find(fits).unwrap_or(&units[0]);
    format!("{}{name}", value / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, ms: Option<u64>) {
        assert_eq!(duration_ms(text), ms, "{text:?}");
    }

    #[test]
    fn durations_have_a_number_and_a_unit() {
        check("500ms", Some(500));
        check("15s", Some(15_000));
        check("15 s", Some(15_000));
        check("10min", Some(600_000));
        check("24h", Some(86_400_000));
        check("3d", Some(259_200_000));
        check("0s", Some(0));
        check("15", None);
        check("s", None);
        check("", None);
        check("-1s", None);
        check("1.5s", None);
        check("1m", None);
        check("1s ", None);
        check("99999999999999999999s", None);
        check("18446744073709551615d", None);
    }

    #[test]
    fn sizes_have_a_number_and_a_unit() {
        for (text, bytes) in [("512B", Some(512)), ("8MiB", Some(8 << 20)), ("8MB", None), ("8", None)] {
            assert_eq!(size_bytes(text), bytes, "{text:?}");
        }
    }

    #[test]
    fn shown_values_are_read_back() {
        for ms in [0, 1, 999, 1_000, 1_500, 60_000, 90_000, 3_600_000, 86_400_000] {
            assert_eq!(duration_ms(&show_duration(ms)), Some(ms));
        }
        for bytes in [0, 1, 1024, 1025, 8 << 20] {
            assert_eq!(size_bytes(&show_size(bytes)), Some(bytes));
        }
    }
}
