//! Amounts of resources, exactly as they were written.
//!
//! Nothing here interprets an amount: the grammar lives in the database functions, which answer
//! a malformed one with [`Code::InvalidSlots`](crate::error::Code::InvalidSlots). What this
//! module guards is that no amount passes through a floating-point number on its way there.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use tokio_postgres::types::{FromSql, Json, Type, accepts};

/// One amount of a resource, kept as its text: `4`, `0.5`, `16g`, and in limits `Infinity`.
///
/// Comparison is that of the text: `1` and `1.0` differ. Amounts in results are canonical
/// (no exponent, no trailing zeros), so that results compare well with each other.
///
/// There is no conversion from `f64`, because `0.1` is not a tenth there; write `"0.1"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Amount(String);

impl Amount {
    /// The text of the amount.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Amount {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Amount {
    fn from(text: String) -> Self {
        Self(text)
    }
}

macro_rules! from_integers {
    ($($integer:ty),+) => {$(
        impl From<$integer> for Amount {
            fn from(amount: $integer) -> Self {
                Self(amount.to_string())
            }
        }
    )+};
}

from_integers!(u8, u16, u32, u64, u128, usize, i32, i64);

/// Takes a JSON number by its digits and a JSON string by its text.
impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        let text = json.get();
        match text.as_bytes() {
            [b'"', ..] => serde_json::from_str(text).map(Self).map_err(D::Error::custom),
            [b'-' | b'0'..=b'9', ..] => Ok(Self(text.to_owned())),
            _ => Err(D::Error::custom("an amount is a number or a string")),
        }
    }
}

/// Amounts by the name of their resource slot, such as `cpu`, `mem` or `cuda.shares`.
///
/// ```
/// use occupancy::ResourceSlots;
///
/// let slots = ResourceSlots::new().with("cpu", 4).with("mem", "16g").with("cuda.shares", "0.5");
/// assert_eq!(slots.get("mem"), Some("16g"));
///
/// let parsed: ResourceSlots = r#"{"cpu": 4, "mem": "16g", "cuda.shares": 0.5}"#.parse()?;
/// assert_eq!(parsed, slots);
/// # Ok::<(), occupancy::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ResourceSlots(BTreeMap<String, Amount>);

impl ResourceSlots {
    /// No slots at all, which as a request asks for nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same slots with one more amount; a name given twice keeps the later amount.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, amount: impl Into<Amount>) -> Self {
        self.0.insert(name.into(), amount.into());
        self
    }

    /// The amount of this slot as text, if it is there.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(Amount::as_str)
    }

    /// Names and amounts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), amount.as_str()))
    }

    /// Whether there is no slot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many slots there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl<N: Into<String>, A: Into<Amount>> FromIterator<(N, A)> for ResourceSlots {
    fn from_iter<I: IntoIterator<Item = (N, A)>>(slots: I) -> Self {
        Self(slots.into_iter().map(|(name, amount)| (name.into(), amount.into())).collect())
    }
}

/// Reads a JSON object of numbers and strings without rounding any of them.
///
/// A text that went through [`serde_json::Value`] before has already had its fractions rounded
/// to floating point: parse the text itself, or write fractions as strings.
impl std::str::FromStr for ResourceSlots {
    type Err = crate::Error;

    fn from_str(json: &str) -> Result<Self, Self::Err> {
        use crate::error::{Code, Error, ErrorKind};

        serde_json::from_str(json).map_err(|error| {
            Error::new(ErrorKind::Refused(Code::InvalidSlots), "invalid resource slots")
                .detail(error.to_string())
                .hint(r#"write an object of amounts, such as {"cpu": 4, "mem": "16g"}"#)
                .caused_by(error)
        })
    }
}

/// The JSON object of the slots.
impl fmt::Display for ResourceSlots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&json)
    }
}

impl<'a> FromSql<'a> for ResourceSlots {
    fn from_sql(
        ty: &Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Json::from_sql(ty, raw).map(|Json(slots)| slots)
    }

    accepts!(JSONB);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_digit_of_a_number_is_lost() {
        let text = "0.100000000000000000001";
        let slots: ResourceSlots = format!(r#"{{"cpu": {text}}}"#).parse().expect("valid");
        assert_eq!(slots.get("cpu"), Some(text));
        let text = "999999999999999999999999.999999999999";
        let slots: ResourceSlots = format!(r#"{{"mem": {text}}}"#).parse().expect("valid");
        assert_eq!(slots.to_string(), format!(r#"{{"mem":"{text}"}}"#));
    }

    #[test]
    fn an_amount_is_a_number_or_a_string() {
        for wrong in ["true", "null", "[1]", r#"{"a": 1}"#] {
            let parsed: Result<ResourceSlots, _> = format!(r#"{{"cpu": {wrong}}}"#).parse();
            let error = parsed.expect_err(wrong);
            assert_eq!(error.code(), Some(crate::error::Code::InvalidSlots));
        }
        assert!("[]".parse::<ResourceSlots>().is_err());
    }

    #[test]
    fn slots_are_ordered_by_name() {
        let slots: ResourceSlots = [("mem", "1g"), ("cpu", "4")].into_iter().collect();
        assert_eq!(slots.iter().collect::<Vec<_>>(), [("cpu", "4"), ("mem", "1g")]);
        assert_eq!(slots.len(), 2);
        assert!(ResourceSlots::new().is_empty());
    }
}
