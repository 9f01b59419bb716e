//! Decision tables: where many inputs decide, every combination of them is matched by exactly one row.
//!
//! A table is a list of rows; a row names the values that it takes for each dimension (none named: any) and what follows.
//! Each table has a test that generates every combination and counts the rows that match.

/// Whether a row that names these values takes this one. Naming none takes any.
pub(crate) fn takes<T: PartialEq>(named: &[T], value: T) -> bool {
    named.is_empty() || named.contains(&value)
}

/// The one row that matches.
///
/// # Panics
/// If none does: the table has a hole, which its test would have shown.
pub(crate) fn decide<Row>(rows: &'static [Row], matches: impl Fn(&Row) -> bool) -> &'static Row {
    match rows.iter().find(|row| matches(row)) {
        Some(row) => row,
        None => unreachable!("a decision table has a hole"),
    }
}

/// For the tests: fails unless exactly one row matches.
#[cfg(test)]
pub(crate) fn assert_one_row<Row: core::fmt::Debug>(
    rows: &[Row],
    what: &dyn core::fmt::Debug,
    matches: impl Fn(&Row) -> bool,
) {
    let matching: alloc::vec::Vec<&Row> = rows.iter().filter(|row| matches(row)).collect();
    assert_eq!(matching.len(), 1, "{what:?} is matched by {matching:#?}");
}
