//! The terminal's life: what it sends, what it believes, what it owes, and after a restart.

use super::*;

const NOW: u64 = 1_709_251_199_999;

fn settings() -> Settings {
    let id = TerminalId::new(b"TERM0001", b"SHOP").unwrap();
    Settings::new(id, Currency::new(*b"978"))
}

fn card() -> Presented {
    Presented::new("4000001234567899".parse().unwrap())
}

fn terminal() -> Terminal {
    Terminal::new(settings())
}

#[track_caller]
fn sell(terminal: &mut Terminal) -> Fields {
    terminal.ask(NOW, Asked::Sale, &card(), 1250).unwrap()
}

/// An answer to a message, with this code.
fn answer_to(message: &Fields, code: &str) -> Fields {
    let mut answer = Fields::new(message.mti().response());
    for de in [3, 4, 7, 11, 12, 13, 41, 42, 49] {
        answer.copy_from(message, de);
    }
    answer.set(37, b"532604000001");
    answer.set(39, code.as_bytes());
    if codes::approves(code) {
        answer.set(38, b"A00001");
    }
    answer
}

fn belief(terminal: &Terminal) -> (Belief, u64, bool) {
    let newest = terminal.beliefs().last().unwrap();
    (newest.belief, newest.stands, terminal.owed().is_some())
}

/// A sale answered with this code: what a terminal of this profile believes, and whether it owes.
#[track_caller]
fn check(reverses_first: bool, code: &str, expected: (Belief, u64, bool)) {
    let mut terminal = Terminal::new(Settings { reverses_first, ..settings() });
    let sale = sell(&mut terminal);
    assert!(terminal.answer(NOW, &answer_to(&sale, code)).is_some());
    assert_eq!(belief(&terminal), expected, "{code}");
}

#[test]
fn a_sale_is_believed_as_it_is_answered() {
    check(true, "00", (Belief::Approved, 1250, false));
    check(true, "10", (Belief::Approved, 1250, false));
    check(true, "51", (Belief::Failed, 0, false));
    check(true, "91", (Belief::Failed, 0, false));
    check(true, "94", (Belief::Failed, 0, false));
    check(true, "96", (Belief::Failed, 0, false));
    check(true, "68", (Belief::Unknown, 0, true));
    check(true, "", (Belief::Unknown, 0, true));
    check(false, "00", (Belief::Approved, 1250, false));
    check(false, "51", (Belief::Failed, 0, false));
    check(false, "68", (Belief::Failed, 0, false));
    check(false, "", (Belief::Unknown, 0, false));
}

#[test]
fn an_approval_in_part_stands_in_part() {
    let mut terminal = terminal();
    let sale = sell(&mut terminal);
    let mut answer = answer_to(&sale, "10");
    answer.set(4, b"000000001000");
    let receipt = terminal.answer(NOW, &answer).unwrap();
    assert_eq!(receipt.amount, Some((1000, "978".to_owned())));
    assert_eq!(belief(&terminal), (Belief::Approved, 1000, false));
    terminal.reverse(NOW, None, 0).unwrap();
    let reversal = terminal.reversal(NOW, None).unwrap().unwrap();
    assert_eq!(reversal.text(4), Some("000000001250"), "a reversal names the amount asked for");
}

#[test]
fn a_request_carries_its_fields() {
    let mut terminal = Terminal::new(Settings { utc_offset_minutes: 1, ..settings() });
    let presented = Presented { expiry: Some("3012".to_owned()), ..card() };
    let sale = terminal.ask(NOW, Asked::Sale, &presented, 1250).unwrap();
    let expected = [
        (2, "4000001234567899"),
        (3, "000000"),
        (4, "000000001250"),
        (7, "0229235959"),
        (11, "000001"),
        (12, "000059"),
        (13, "0301"),
        (14, "3012"),
        (22, "021"),
        (25, "00"),
        (41, "TERM0001"),
        (42, "SHOP           "),
        (49, "978"),
    ];
    let sent: Vec<_> = sale.iter().map(|(de, value)| (de, std::str::from_utf8(value).unwrap())).collect();
    assert_eq!(sent, expected);
    terminal.give_up(NOW);
}

#[test]
fn a_track_takes_the_place_of_the_card_number() {
    let mut terminal = terminal();
    let presented = Presented {
        track2_tail: Some("30121010000".to_owned().into()),
        pin_block: Some([1; 8].into()),
        chip: Some(vec![0x9f, 0x36, 0x00]),
        ..card()
    };
    let sale = terminal.ask(NOW, Asked::Cash, &presented, 1).unwrap();
    assert!(!sale.has(2));
    assert_eq!(sale.text(35), Some("4000001234567899=30121010000"));
    assert_eq!((sale.text(3), sale.text(22)), (Some("010000"), Some("051")));
    assert!(sale.has(52) && sale.has(55));
    terminal.give_up(NOW);
    let reversal = terminal.reversal(NOW, None).unwrap().unwrap();
    assert_eq!(reversal.text(2), Some("4000001234567899"));
    assert!([35, 52, 55].iter().all(|de| !reversal.has(*de)), "{reversal:?}");
}

#[test]
fn only_the_answer_that_it_waits_for_is_one() {
    let mut terminal = terminal();
    let sale = sell(&mut terminal);
    let right = answer_to(&sale, "00");
    let mut wrong = vec![right.clone(); 4];
    wrong[0].set_mti(Mti::new(b"0410"));
    wrong[1].set(11, b"000002");
    wrong[2].set(41, b"TERM0002");
    wrong[3].set(42, b"OTHER          ");
    for wrong in wrong {
        assert_eq!(terminal.answer(NOW, &wrong), None, "{wrong:?}");
    }
    assert!(terminal.answer(NOW, &right).is_some());
    assert_eq!(terminal.answer(NOW, &right), None, "nothing is open any more");
}

#[test]
fn what_it_does_not_know_is_reversed_before_anything_new_until_it_is_acknowledged() {
    let mut terminal = terminal();
    let sale = sell(&mut terminal);
    assert_eq!(terminal.ask(NOW, Asked::Sale, &card(), 1).unwrap_err(), Refused::Busy);
    let receipt = terminal.give_up(NOW).unwrap();
    assert_eq!((receipt.outcome, receipt.code()), (Outcome::Unknown, "--"));
    assert_eq!(terminal.ask(NOW, Asked::Sale, &card(), 1).unwrap_err(), Refused::ReversalFirst);

    let first = terminal.reversal(NOW, None).unwrap().unwrap();
    assert_eq!(first.mti(), Mti::new(b"0400"));
    let de90 = format!("0200{}0229235959{:022}", sale.text(11).unwrap(), 0);
    assert_eq!(first.text(90), Some(de90.as_str()));
    assert_eq!(first.text(11), Some("000002"));
    for de in [2, 3, 4, 12, 13, 25, 41, 42, 49] {
        assert_eq!(first.get(de), sale.get(de), "DE{de}");
    }
    terminal.give_up(NOW);
    let again = terminal.reversal(NOW + 60_000, None).unwrap().unwrap();
    let mut as_first = again.clone();
    as_first.set_mti(Mti::new(b"0400"));
    assert_eq!((again.mti(), as_first), (Mti::new(b"0401"), first));
    let refused = terminal.answer(NOW, &answer_to(&again, "96")).unwrap();
    assert_eq!(refused.outcome, Outcome::Declined);
    assert_eq!(belief(&terminal), (Belief::Unknown, 0, true));
    let third = terminal.reversal(NOW, None).unwrap().unwrap();
    assert!(terminal.answer(NOW, &answer_to(&third, "00")).unwrap().is_approved());
    assert_eq!(belief(&terminal), (Belief::Reversed, 0, false));
    assert_eq!(terminal.reversal(NOW, None).unwrap(), None);
    sell(&mut terminal);
}

/// A reversal answered with this code: what is believed then, and whether it is still owed.
#[track_caller]
fn check_reversal(remains: u64, code: &str, expected: (Belief, u64, bool)) {
    let mut terminal = terminal();
    let sale = sell(&mut terminal);
    terminal.answer(NOW, &answer_to(&sale, "00"));
    terminal.reverse(NOW, None, remains).unwrap();
    let reversal = terminal.reversal(NOW, None).unwrap().unwrap();
    assert_eq!(reversal.text(37), Some("532604000001"));
    assert_eq!(reversal.text(38), Some("A00001"));
    assert_eq!(reversal.has(95), remains > 0);
    terminal.answer(NOW, &answer_to(&reversal, code));
    assert_eq!(belief(&terminal), expected, "{code}");
}

#[test]
fn a_reversal_ends_by_its_code() {
    check_reversal(0, "00", (Belief::Reversed, 0, false));
    check_reversal(0, "25", (Belief::Reversed, 0, false));
    check_reversal(0, "12", (Belief::Reversed, 0, false));
    check_reversal(0, "64", (Belief::Unknown, 0, false));
    check_reversal(0, "91", (Belief::Unknown, 0, true));
    check_reversal(0, "", (Belief::Unknown, 0, true));
    check_reversal(400, "00", (Belief::Approved, 400, false));
    check_reversal(400, "96", (Belief::Unknown, 0, true));
}

#[test]
fn only_what_it_asked_for_can_be_reversed_and_no_more_than_that() {
    let mut terminal = terminal();
    assert_eq!(terminal.reverse(NOW, None, 0), Err(Refused::NoSuchRequest));
    let sale = sell(&mut terminal);
    assert_eq!(terminal.reverse(NOW, None, 0), Err(Refused::Busy));
    terminal.answer(NOW, &answer_to(&sale, "00"));
    assert_eq!(terminal.reverse(NOW, Stan::new(9).ok(), 0), Err(Refused::NoSuchRequest));
    assert!(matches!(terminal.reverse(NOW, None, 1251), Err(Refused::Value(_))));
    assert_eq!(terminal.reverse(NOW, Stan::new(1).ok(), 0), Ok(()));
}

#[test]
fn a_reversal_under_way_goes_on_and_one_that_is_done_may_be_asked_for_again() {
    let mut terminal = terminal();
    let sale = sell(&mut terminal);
    terminal.answer(NOW, &answer_to(&sale, "00"));
    terminal.reverse(NOW, None, 0).unwrap();
    terminal.reversal(NOW, None).unwrap();
    terminal.give_up(NOW);
    assert_eq!(terminal.reverse(NOW, None, 400), Err(Refused::ReversalFirst));
    assert_eq!(terminal.reverse(NOW, None, 0), Ok(()));
    let again = terminal.reversal(NOW, None).unwrap().unwrap();
    assert_eq!((again.mti(), again.text(11)), (Mti::new(b"0401"), Some("000002")));
    terminal.answer(NOW, &answer_to(&again, "00"));
    terminal.reverse(NOW, None, 0).unwrap();
    let new = terminal.reversal(NOW, None).unwrap().unwrap();
    assert_eq!((new.mti(), new.text(11)), (Mti::new(b"0400"), Some("000003")));
}

#[test]
fn a_terminal_of_another_profile_leaves_what_it_does_not_know_as_it_is() {
    let mut terminal = Terminal::new(Settings { reverses_first: false, ..settings() });
    sell(&mut terminal);
    terminal.give_up(NOW);
    assert_eq!(belief(&terminal), (Belief::Unknown, 0, false));
    sell(&mut terminal);
}

#[test]
fn a_reversal_may_name_its_original_by_the_stan_alone() {
    let names = ReversalNames::OriginalStan;
    let mut terminal = Terminal::new(Settings { reversal_names: names, ..settings() });
    sell(&mut terminal);
    terminal.give_up(NOW);
    let reversal = terminal.reversal(NOW, None).unwrap().unwrap();
    assert_eq!((reversal.text(11), reversal.has(90)), (Some("000001"), false));
    assert!(terminal.answer(NOW, &answer_to(&reversal, "00")).unwrap().is_approved());
    assert_eq!(sell(&mut terminal).text(11), Some("000002"));
}

#[test]
fn a_reversal_carries_its_originals_local_time_or_its_own_or_none() {
    let later = NOW + 3_600_000;
    let cases = [(ReversalTimes::Original, Some(NOW)), (ReversalTimes::Own, Some(later)), (ReversalTimes::Absent, None)];
    for (reversal_times, expected) in cases {
        let mut terminal = Terminal::new(Settings { reversal_times, ..settings() });
        sell(&mut terminal);
        terminal.give_up(NOW);
        let first = terminal.reversal(later, None).unwrap().unwrap();
        let expected = expected.map(|at| Calendar::at(at, settings().utc_offset_minutes));
        assert_eq!(first.text(12).map(str::to_owned), expected.as_ref().map(Calendar::de12), "{reversal_times:?}");
        assert_eq!(first.text(13).map(str::to_owned), expected.as_ref().map(Calendar::de13), "{reversal_times:?}");
        terminal.give_up(later);
        let again = terminal.reversal(later + 60_000, None).unwrap().unwrap();
        assert_eq!((again.get(12), again.get(13)), (first.get(12), first.get(13)), "{reversal_times:?}");
    }
}

#[test]
fn a_repeat_has_the_same_content() {
    let mut terminal = terminal();
    assert_eq!(terminal.repeat().unwrap_err(), Refused::NoSuchRequest);
    let sale = sell(&mut terminal);
    terminal.give_up(NOW);
    let mut repeat = terminal.repeat().unwrap();
    assert_eq!(repeat.mti(), Mti::new(b"0201"));
    let answer = answer_to(&repeat, "00");
    repeat.set_mti(sale.mti());
    assert_eq!(repeat, sale);
    assert!(terminal.answer(NOW, &answer).unwrap().is_approved());
    assert_eq!(belief(&terminal), (Belief::Approved, 1250, false));
    // Silence to a second repeat takes nothing away from what is known.
    terminal.repeat().unwrap();
    terminal.give_up(NOW);
    assert_eq!(belief(&terminal), (Belief::Approved, 1250, false));
    terminal.reverse(NOW, None, 0).unwrap();
    assert_eq!(terminal.repeat().unwrap_err(), Refused::ReversalFirst);
}

#[test]
fn echo_sign_on_and_balance_leave_no_belief() {
    let mut terminal = terminal();
    for code in ["301", "001"] {
        let message = match code {
            "301" => terminal.echo(NOW).unwrap(),
            _ => terminal.sign_on(NOW).unwrap(),
        };
        assert_eq!(message.text(70), Some(code));
        assert!(terminal.answer(NOW, &answer_to(&message, "00")).unwrap().is_approved());
    }
    terminal.ask(NOW, Asked::Balance, &card(), 0).unwrap();
    terminal.give_up(NOW);
    assert!(terminal.beliefs().is_empty() && terminal.owed().is_none());
}

/// Writes the terminal's lines as its journal and switches it on again.
fn restart(terminal: &mut Terminal, journal: &mut String) -> Terminal {
    for line in terminal.take_lines() {
        journal.push_str(&serde_json::to_string(&line).unwrap());
        journal.push('\n');
    }
    assert!(!journal.contains("4000001234567899"));
    Terminal::restore(terminal.settings().clone(), read_lines(journal).unwrap())
}

#[test]
fn a_restarted_terminal_owes_what_it_owed_and_goes_on_counting() {
    let mut journal = String::new();
    let mut terminal = terminal();
    let sale = sell(&mut terminal);
    let mut terminal = restart(&mut terminal, &mut journal);
    assert_eq!(terminal.owed().unwrap().stan, "000001");
    let first = terminal.reversal(NOW, None).unwrap().unwrap();
    assert!(!first.has(2), "the card is gone");
    assert_eq!(first.get(12), sale.get(12));
    let mut terminal = restart(&mut terminal, &mut journal);
    let again = terminal.reversal(NOW + 60_000, Some(&card().card)).unwrap().unwrap();
    assert_eq!(again.mti(), Mti::new(b"0401"));
    assert_eq!((again.get(7), again.get(11)), (first.get(7), first.get(11)));
    assert!(again.has(2), "the card was presented again");
    terminal.answer(NOW, &answer_to(&again, "00"));
    let mut terminal = restart(&mut terminal, &mut journal);
    assert_eq!(belief(&terminal), (Belief::Reversed, 0, false));
    assert_eq!(sell(&mut terminal).text(11), Some("000003"));
    assert_eq!(terminal.beliefs().len(), 2);
}

#[test]
fn a_restarted_terminal_of_another_profile_owes_nothing_by_itself() {
    let mut journal = String::new();
    let mut terminal = Terminal::new(Settings { reverses_first: false, ..settings() });
    sell(&mut terminal);
    let mut terminal = restart(&mut terminal, &mut journal);
    assert!(terminal.owed().is_none());
    terminal.reverse(NOW, None, 0).unwrap();
    let terminal = restart(&mut terminal, &mut journal);
    assert!(terminal.owed().is_some(), "but it owes what it was told to reverse");
}

#[test]
fn the_stan_counter_starts_again_after_its_last() {
    let mut terminal = terminal();
    terminal.next_stan = Stan::new(Stan::MAX).unwrap();
    let sale = sell(&mut terminal);
    assert_eq!(sale.text(11), Some("999999"));
    terminal.answer(NOW, &answer_to(&sale, "00"));
    assert_eq!(sell(&mut terminal).text(11), Some("000001"));
}

#[test]
fn a_journal_is_read_up_to_its_last_newline() {
    assert!(read_lines("").unwrap().is_empty());
    assert!(read_lines("{\"at\":").unwrap().is_empty());
    let damaged = read_lines("\n{\"at\":\n").unwrap_err();
    assert_eq!(damaged.line, 2);
}
