//! docs/MONEY-RULES.md against the sources: every rule is there, behind each stand tests that exist, and each test of the law
//! stands behind its rules.
//!
//! The page has a paragraph a rule. It begins with the rule's number in bold, and its last lines begin with `Held by:` and
//! name tests as `crate::file::test` (`e2e` is this folder, the file of a `mod.rs` is its folder). A name counts only with
//! `#[test]` or `#[tokio::test]` above it. A test of `switch` or of this folder says by the beginning of its name which rules
//! it holds: `d1_t8_…` holds D1 and T8.

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
pub(crate) fn tests_of_the_sources() -> BTreeSet<String> {
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
            let named = if path.ends_with("mod.rs") { folder } else { path.as_path() };
            let file = named.file_stem().expect("a source has a name").to_string_lossy();
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

/// Whether a word of the page's code spans has the form of a test's name. `crate` is no crate: so the page explains the form.
fn is_test_name(word: &str) -> bool {
    let parts: Vec<&str> = word.split("::").collect();
    let plain = |part: &&str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    parts.len() == 3 && parts[0] != "crate" && parts.iter().all(plain)
}

/// The numbers of all rules.
fn rules() -> impl Iterator<Item = String> {
    RULES.iter().flat_map(|(letter, first, last)| (*first..=*last).map(move |n| format!("{letter}{n}")))
}

/// The rules that a test says it holds, by the beginning of its name.
fn rules_of_test(test: &str) -> Vec<String> {
    let all: BTreeSet<String> = rules().collect();
    let name = test.rsplit("::").next().unwrap_or_default();
    let words = name.split('_').filter(|word| word.starts_with(|first: char| first.is_ascii_lowercase()));
    words.map(str::to_ascii_uppercase).take_while(|word| all.contains(word)).collect()
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
    let behind: BTreeSet<(&str, &str)> =
        rules_of(page).into_iter().flat_map(|(rule, tests)| tests.into_iter().map(move |test| (rule, test))).collect();
    let of_the_law = tests.iter().filter(|test| test.starts_with("switch::") || test.starts_with("e2e::"));
    for test in of_the_law {
        let forgotten = rules_of_test(test).into_iter().filter(|rule| !behind.contains(&(rule.as_str(), test.as_str())));
        faults.extend(forgotten.map(|rule| format!("{rule} forgets {test}")));
    }
    let held_by: BTreeSet<&str> = behind.into_iter().map(|(_, test)| test).collect();
    let elsewhere = page.split('`').skip(1).step_by(2).filter(|word| is_test_name(word) && !held_by.contains(word));
    faults.extend(
        elsewhere.filter(|word| !tests.contains(*word)).map(|word| format!("the text names {word}, which is no test")),
    );
    for rule in rules() {
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
    let whole: Vec<String> =
        rules().map(|rule| format!("**{rule}** says so.\nHeld by: `switch::speak::a`,\n`e2e::crash::b`")).collect();
    let check_with = |tests: &BTreeSet<String>, page: &[String], expected: &[&str]| {
        assert_eq!(faults(&page.join("\n\n"), tests), expected);
    };
    let check = |page: &[String], expected: &[&str]| check_with(&tests, page, expected);
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
    // Anywhere else on the page.
    let text = |name: &str| spoiled(0, &format!("See `{name}`.\n\n{}", whole[0]));
    check(&text("e2e::crash::c"), &["the text names e2e::crash::c, which is no test"]);
    for fits in ["e2e::crash::b", "crate::file::test", "Held by:", "crates/switch"] {
        check(&text(fits), &[]);
    }
    // A test that says which rules it holds stands behind all of them.
    let more = |name: &str| tests.iter().cloned().chain([name.to_owned()]).collect::<BTreeSet<_>>();
    let test = "switch::speak::m1_m2_says_so";
    check_with(&more(test), &whole, &["M1 forgets switch::speak::m1_m2_says_so", "M2 forgets switch::speak::m1_m2_says_so"]);
    let named = whole[0].replace("switch::speak::a", test);
    check_with(&more(test), &spoiled(0, &named), &["M2 forgets switch::speak::m1_m2_says_so"]);
    for of_no_rule in ["partition::speak::m1_says_so", "switch::speak::says_m1", "switch::speak::m9_says_so"] {
        check_with(&more(of_no_rule), &whole, &[]);
    }
}

#[test]
fn a_function_without_the_attribute_is_no_test() {
    let source = "fn a() {}\n#[test]\nfn b() {}\n  #[tokio::test(x)]\n  #[ignore]\n  async fn c() {}\nfn d() {}";
    assert_eq!(tests_in(source).collect::<Vec<_>>(), ["b", "c"]);
}
