//! Amounts: by the grammar, beside it, and anything else.

use super::Source;

const SPACES: [char; 6] = [' ', '\t', '\n', '\x0b', '\x0c', '\r'];
const SUFFIXES: [&str; 9] = ["", "k", "K", "m", "G", "t", "P", "q", "b"];
const ENDS: [&str; 6] = ["", "b", "B", "ib", "iB", "i"];
const EXPONENTS: [&str; 10] = ["e0", "E1", "e+2", "e-1", "e-12", "e23", "e99", "e-99", "e100", "e"];
const LITERALS: [&str; 12] = [
    "Infinity",
    "inf",
    "INF",
    "iNfInItY",
    "-Infinity",
    "+inf",
    "NaN",
    "",
    "0x10",
    "1_000",
    "ınf",
    "infinity ",
];
/// Characters that look like others, belong to other alphabets, or mean something elsewhere.
const ODD: [char; 30] = [
    '0', '1', '9', '.', 'e', 'E', '+', '-', ' ', '\t', '\n', '\x0b', 'k', 'i', 'B', '_', 'x', ',',
    '\'', '"', '\\', ';', '%', '\u{a0}', '\u{2003}', '\u{212a}', '\u{17f}', '\u{130}', '٤', '４',
];

/// An amount in its JSON form.
pub(super) fn written(source: &mut Source) -> String {
    match source.below(20) {
        0 => source.pick(&["true", "false", "null", "[]", "{}", "[1]", r#"{"cpu": 1}"#]).to_owned(),
        1 => quoted(source.pick(&LITERALS)),
        2..=5 => number(source),
        _ => {
            let text = string(source);
            quoted(&if source.one_in(3) { edited(source, &text) } else { text })
        }
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn number(source: &mut Source) -> String {
    let sign = if source.one_in(10) { "-" } else { "" };
    let whole = digits(source);
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let fraction =
        if source.one_in(2) { format!(".{}", some_digits(source)) } else { String::new() };
    let exponent = source.pick(&["", "", "e0", "E5", "e-7", "e+11", "e-13", "e24", "e-99", "e120"]);
    format!("{sign}{whole}{fraction}{exponent}")
}

fn string(source: &mut Source) -> String {
    let (before, within, after) = (spaces(source), spaces(source), spaces(source));
    let sign = if source.one_in(6) { "+" } else { "" };
    let number = match source.below(4) {
        0 => format!(".{}", some_digits(source)),
        1 => format!("{}.", some_digits(source)),
        2 => format!("{}.{}", some_digits(source), some_digits(source)),
        _ => some_digits(source),
    };
    let exponent = if source.one_in(4) { source.pick(&EXPONENTS) } else { "" };
    let suffix = source.pick(&SUFFIXES);
    let end = if source.one_in(3) { source.pick(&ENDS) } else { "" };
    format!("{before}{sign}{number}{exponent}{within}{suffix}{end}{after}")
}

fn spaces(source: &mut Source) -> String {
    if !source.one_in(5) {
        return String::new();
    }
    let most = if source.one_in(40) { LONG } else { 4 };
    (0..source.below(most)).map(|_| source.pick(&SPACES)).collect()
}

fn some_digits(source: &mut Source) -> String {
    let digits = digits(source);
    if digits.is_empty() { "0".to_owned() } else { digits }
}

/// Few of them mostly; else around what is just in range, or very many.
fn digits(source: &mut Source) -> String {
    let any = |source: &mut Source, most: usize| -> String {
        (0..source.below(most)).map(|_| source.pick(&['0', '1', '2', '5', '7', '9'])).collect()
    };
    match source.below(12) {
        0 => "0".repeat(source.below(14)),
        1 => "9".repeat(source.below(26)),
        2 => format!("1{}", "0".repeat(source.below(26))),
        3 => format!("{}1", "0".repeat(source.below(14))),
        // What a suffix turns into few digits.
        4 => "88817841970012523233890533447265625".repeat(1 + source.below(2)),
        5 => format!(
            "{}{}{}",
            "0".repeat(source.below(LONG)),
            any(source, 9),
            "0".repeat(source.below(LONG))
        ),
        _ => any(source, 8),
    }
}

/// How many blanks or digits that stand for nothing may stand there: so many that the server reads
/// what is left without them.
const LONG: usize = 600;

/// The text after a few changes.
fn edited(source: &mut Source, text: &str) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=source.below(2) {
        let at = source.below(chars.len() + 1);
        match source.below(3) {
            0 => chars.insert(at, source.pick(&ODD)),
            1 if at < chars.len() => chars[at] = source.pick(&ODD),
            _ if at < chars.len() => drop(chars.remove(at)),
            _ => {}
        }
    }
    chars.into_iter().collect()
}
