//! docs/MONEY-RULES.md against the sources: every rule is there, and behind each stand tests that exist.
//!
//! The page has a paragraph a rule. It begins with the rule's number in bold, and its last lines begin with `Held by:` and
//! name tests as `crate::file::test` (`e2e` is this folder). A name counts only with `#[test]` or `#[tokio::test]` above it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The rules of the law: letter, first and last number.
const RULES: [(&str, u32, u32); 6] = [("M", 1, 8), ("T", 1, 10), ("R", 0, 8), ("D", 1, 13), ("C", 1, 3), ("K", 1, 7)];

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the workspace is where it was built")
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/MONEY-RULES.md")).expect("docs/MONEY-RULES.md can be read")
}

/// Every test of the workspace as `crate::file::test`.
fn tests_of_the_sources() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    take_folder(&root().join("tests"), "e2e", &mut tests);
    for member in std::fs::read_dir(root().join("crates")).expect("crates can be listed") {
        let member = member.expect("an entry of crates").path();
        let name = member.file_name().expect("a crate has a name").to_string_lossy().into_owned();
        take_folder(&member, &name, &mut tests);
    }
    tests
}

fn take_folder(folder: &Path, of: &str, tests: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("an entry of a source folder").path();
        if path.is_dir() {
            take_folder(&path, of, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let file = path.file_stem().expect("a source has a name").to_string_lossy();
            tests.extend(tests_in(&text).map(|test| format!("{of}::{file}::{test}")));
        }
    }
}

/// The functions below a test attribute; other attributes may stand between.
fn tests_in(text: &str) -> impl Iterator<Item = &str> {
    let mut marked = false;
    text.lines().map(str::trim).filter_map(move |line| {
        let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        if let Some(function) = function {
            return std::mem::take(&mut marked).then(|| function.split('(').next()).flatten();
        }
        marked |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        None
    })
}

/// The rules of the page with the tests behind them; a rule that is told twice has its name twice.
fn rules_of(page: &str) -> Vec<(&str, Vec<&str>)> {
    page.split("\n\n")
        .filter_map(|paragraph| {
            let (rule, text) = paragraph.trim_start().strip_prefix("**")?.split_once("**")?;
            let held_by = text.split_once("\nHeld by:").map_or("", |(_, tests)| tests);
            Some((rule, held_by.split('`').skip(1).step_by(2).collect()))
        })
        .collect()
}

/// What is wrong with a page, a sentence each.
fn faults(page: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    for (rule, held_by) in rules_of(page) {
        *told.entry(rule).or_default() += 1;
        if held_by.is_empty() {
            faults.push(format!("{rule} has no test behind it"));
        }
        for test in held_by.into_iter().filter(|test| !tests.contains(*test)) {
            faults.push(format!("{rule} names {test}, which is no test of the sources"));
        }
    }
    for rule in RULES.iter().flat_map(|(letter, first, last)| (*first..=*last).map(move |n| format!("{letter}{n}"))) {
        match told.remove(rule.as_str()) {
            Some(1) => {}
            Some(times) => faults.push(format!("{rule} is told {times} times")),
            None => faults.push(format!("{rule} is missing")),
        }
    }
    faults.extend(told.keys().map(|rule| format!("{rule} is no rule of the list")));
    faults
}

#[test]
fn every_rule_is_on_the_page_with_tests_that_exist() {
    let tests = tests_of_the_sources();
    assert!(tests.len() > 100, "only {} tests were found in the sources", tests.len());
    assert_eq!(faults(&page(), &tests), Vec::<String>::new(), "docs/MONEY-RULES.md");
}

/// The check itself: each way to spoil the page is told, and nothing else.
#[test]
fn a_spoiled_page_is_told() {
    let tests = BTreeSet::from(["switch::speak::a".to_owned(), "e2e::crash::b".to_owned()]);
    let numbers = RULES.iter().flat_map(|(letter, first, last)| (*first..=*last).map(move |n| format!("{letter}{n}")));
    let whole: Vec<String> =
        numbers.map(|rule| format!("**{rule}** says so.\nHeld by: `switch::speak::a`,\n`e2e::crash::b`")).collect();
    let check = |page: &[String], expected: &[&str]| assert_eq!(faults(&page.join("\n\n"), &tests), expected);
    check(&whole, &[]);

    let spoiled = |at: usize, paragraph: &str| {
        let mut page = whole.clone();
        page[at] = paragraph.to_owned();
        page
    };
    check(&spoiled(0, ""), &["M1 is missing"]);
    check(&spoiled(0, "**M1** says so."), &["M1 has no test behind it"]);
    check(&spoiled(0, "**M1** says `switch::speak::a`.\nHeld by: nobody"), &["M1 has no test behind it"]);
    check(
        &spoiled(0, "**M1** says so.\nHeld by: `switch::speak::c`"),
        &["M1 names switch::speak::c, which is no test of the sources"],
    );
    check(
        &spoiled(0, "**M1** says so.\nHeld by: `partition::speak::a`"),
        &["M1 names partition::speak::a, which is no test of the sources"],
    );
    check(&spoiled(1, &whole[0]), &["M1 is told 2 times", "M2 is missing"]);
    check(&spoiled(0, &whole[0].replace("M1", "M9")), &["M1 is missing", "M9 is no rule of the list"]);
}

#[test]
fn a_function_without_the_attribute_is_no_test() {
    let source = "fn a() {}\n#[test]\nfn b() {}\n  #[tokio::test(x)]\n  #[ignore]\n  async fn c() {}\nfn d() {}";
    assert_eq!(tests_in(source).collect::<Vec<_>>(), ["b", "c"]);
}
