//! Exact sums and comparisons of amounts that the database returned.
//!
//! Canonical amounts have at most 24 digits before the point and 12 behind it, which fit an
//! integer of 10^-12 units. Nothing here decides anything: it is for watching and reporting.

/// Units in 1.
pub(crate) const ONE: i128 = 1_000_000_000_000;
const DECIMALS: usize = 12;

/// The units of a canonical amount; `None` is `Infinity`, or not canonical.
pub(crate) fn parse(amount: &str) -> Option<i128> {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    let missing = DECIMALS.checked_sub(fraction.len())?;
    let units: i128 = format!("{whole}{fraction}").parse().ok()?;
    units.checked_mul(10_i128.pow(u32::try_from(missing).ok()?))
}

/// The canonical amount of these units.
pub(crate) fn format(units: i128) -> String {
    let (whole, fraction) = (units / ONE, (units % ONE).unsigned_abs());
    let text = format!("{whole}.{fraction:012}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_parsed_is_printed_the_same() {
        for text in ["0", "4", "0.5", "17179869184", "0.000000000001", "123456789012.46"] {
            assert_eq!(format(parse(text).expect(text)), text);
        }
        assert_eq!(parse("Infinity"), None);
        assert_eq!(parse("0.1").map(|tenth| tenth * 3), parse("0.3"));
        assert!(parse("999999999999999999999999.999999999999").is_some());
    }
}
