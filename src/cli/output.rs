//! What people and programs get to read.

use std::fmt::Display;
use std::io::{self, Write};

use comfy_table::{Table, presets};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::slots::ResourceSlots;

/// Writes a line to standard output. A reader that has read enough (`| head`) is no error.
pub(super) fn line(text: impl Display) -> Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new(ErrorKind::Io, "cannot write to standard output")
                .detail(error.to_string())
                .caused_by(error))
        }
        _ => Ok(()),
    }
}

/// Writes one line of JSON to standard output.
pub(super) fn json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|error| {
        Error::new(ErrorKind::Io, "the answer cannot be written as JSON").caused_by(error)
    })?;
    line(text)
}

/// Writes rows for people, or the same values as JSON.
pub(super) fn rows<T: Serialize, const N: usize>(
    as_json: bool,
    values: &[T],
    header: [&str; N],
    row: impl Fn(&T) -> [String; N],
) -> Result<()> {
    if as_json { json(&values) } else { line(table(header, values.iter().map(row))) }
}

/// Writes a sentence for people, or the value behind it as JSON.
pub(super) fn either(as_json: bool, value: &impl Serialize, text: impl Display) -> Result<()> {
    if as_json { json(value) } else { line(text) }
}

/// Aligned columns under their names.
pub(super) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.map(str::to_uppercase));
    table.add_rows(rows);
    let lines: Vec<_> = table.lines().collect();
    let text: Vec<_> = lines.iter().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    text.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

/// An error with all that is known about it, on standard error: what the command was asked for
/// may already be on standard output.
pub(super) fn error(error: &Error, as_json: bool) {
    let code = error.sqlstate().or(error.code().map(crate::Code::sqlstate));
    let detail = error.detail_text().map(str::to_owned).or_else(|| root_cause(error));
    let text = if as_json {
        json!({ "error": {
            "message": error.to_string(),
            "detail": detail,
            "hint": error.hint_text(),
            "code": code,
        }})
        .to_string()
    } else {
        let mut text = format!("error: {error}");
        let parts = [("detail", detail.as_deref()), ("hint", error.hint_text()), ("code", code)];
        let parts =
            parts.into_iter().filter_map(|(name, part)| Some(format!("\n{name}: {}", part?)));
        text.extend(parts);
        text
    };
    // If this cannot be written, there is nobody left to tell.
    let _ = writeln!(io::stderr(), "{text}");
}

/// The innermost cause, unless the server answered, who says all in its message.
fn root_cause(error: &Error) -> Option<String> {
    if error.sqlstate().is_some() {
        return None;
    }
    let mut cause = std::error::Error::source(error)?;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    (!error.to_string().contains(&text)).then_some(text)
}

/// Slots in the form in which the command line takes them.
pub(super) fn slots(slots: &ResourceSlots) -> String {
    if slots.is_empty() {
        return "-".to_owned();
    }
    let parts: Vec<_> =
        slots.iter().map(|(name, amount)| format!("{name}={}", short(amount))).collect();
    parts.join(",")
}

/// Whole mebibytes with a suffix; nothing but memory comes in such numbers. Exact: a fraction of
/// more than two digits stays in the smaller unit.
pub(super) fn short(amount: &str) -> String {
    const MEBI: u128 = 1 << 20;
    let number = amount.parse::<u128>().ok().filter(|number| *number > 0 && number % MEBI == 0);
    let Some(number) = number else { return amount.to_owned() };
    let mut hundredths = number / MEBI * 100;
    let mut suffix = "m";
    for larger in ["g", "t", "p"] {
        if hundredths < 100 * 1024 || !hundredths.is_multiple_of(1024) {
            break;
        }
        hundredths /= 1024;
        suffix = larger;
    }
    let number = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    format!("{}{suffix}", number.trim_end_matches('0').trim_end_matches('.'))
}

/// A limit, of which none is unlimited.
pub(super) fn limit(max: Option<i64>) -> String {
    max.map_or_else(|| "unlimited".to_owned(), |max| max.to_string())
}

/// A count beside its limit.
pub(super) fn used_of(used: i64, max: Option<i64>) -> String {
    format!("{used} of {}", limit(max))
}

/// A moment, to the second.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Slots that may be unlimited as a whole.
pub(super) fn slot_limit(max: Option<&ResourceSlots>) -> String {
    max.map_or_else(|| "unlimited".to_owned(), slots)
}

/// Something that may be absent.
pub(super) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// An amount, a number or an object of slots, as the functions return them.
pub(super) fn value(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::Object(parts)) => {
            let parts: Vec<_> = parts
                .iter()
                .map(|(name, amount)| match amount {
                    Value::String(amount) => format!("{name}={}", short(amount)),
                    Value::Null => format!("{name}=unlimited"),
                    other => format!("{name}={other}"),
                })
                .collect();
            if parts.is_empty() { "-".to_owned() } else { parts.join(",") }
        }
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_printed_as_it_is_typed() {
        for (bytes, short_form) in [
            ("17179869184", "16g"),
            ("1048576", "1m"),
            ("1048577", "1048577"),
            ("1610612736", "1.5g"),
            ("1074790400", "1025m"),
            ("1125899906842624", "1p"),
            ("1152921504606846976", "1024p"),
            ("4", "4"),
            ("0.5", "0.5"),
        ] {
            assert_eq!(short(bytes), short_form);
        }
    }

    #[test]
    fn columns_are_aligned_and_end_without_blanks() {
        let rows = [["i-01".to_owned(), "x".to_owned()], ["i".to_owned(), String::new()]];
        assert_eq!(table(["agent", "b"], rows), "AGENT  B\ni-01   x\ni");
    }
}
