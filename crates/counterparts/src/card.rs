//! A card number in settings, rules and ledgers: `iso8583`'s [`Pan`] with a place in JSON.
//!
//! Not a validator: no Luhn check, test cards are whatever a test says. Invariant: JSON takes the
//! digits and gives only the masked form.

use core::fmt;
use core::str::FromStr;

use iso8583::{Fields, Pan, ValueError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A card number (DE2), shown masked wherever it is shown.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Card(Pan);

impl Card {
    /// The digits in clear, for the wire and for comparing.
    #[must_use]
    pub fn digits(&self) -> &str {
        self.0.as_str()
    }

    /// The card of a message: DE2, or DE35 up to its separator. `None` if there is none, or it is
    /// no card number.
    #[must_use]
    pub fn of(message: &Fields) -> Option<Self> {
        let digits = match message.get(2) {
            Some(pan) => pan,
            None => message.get(35)?.split(|b| matches!(b, b'=' | b'D')).next()?,
        };
        Pan::try_from(digits).ok().map(Self)
    }
}

impl From<Pan> for Card {
    fn from(pan: Pan) -> Self {
        Self(pan)
    }
}

impl FromStr for Card {
    type Err = ValueError;

    fn from_str(digits: &str) -> Result<Self, ValueError> {
        digits.parse().map(Self)
    }
}

impl fmt::Display for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Card({self})")
    }
}

impl Serialize for Card {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Card {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The error of a refused number must not repeat it, so it is not serde's own.
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iso8583::Mti;

    #[test]
    fn a_card_is_shown_masked_everywhere() {
        let card: Card = "4000001234567899".parse().unwrap();
        assert_eq!(card.to_string(), "400000******7899");
        assert_eq!(format!("{card:?}"), "Card(400000******7899)");
        assert_eq!(serde_json::to_string(&card).unwrap(), "\"400000******7899\"");
    }

    #[test]
    fn a_masked_card_is_not_taken_for_a_card_and_the_error_does_not_repeat_it() {
        let refused = serde_json::from_str::<Card>("\"400000******7899\"").unwrap_err();
        assert!(!refused.to_string().contains("400000"), "{refused}");
    }

    #[test]
    fn the_card_of_a_message_is_de2_or_the_track_up_to_its_separator() {
        let mut message = Fields::new(Mti::new(b"0200"));
        assert_eq!(Card::of(&message), None);
        message.set(35, b"4000001234567899=30121010000000000");
        let card: Card = "4000001234567899".parse().unwrap();
        assert_eq!(Card::of(&message), Some(card));
        message.set(2, b"4000009999999999");
        assert_eq!(Card::of(&message).unwrap().digits(), "4000009999999999");
    }
}
