//! Elements of a batch: whole, with a part that is something else, and what a model says of them.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Source;
use crate::slots::model;

/// An element as the grammar has it, or nearly so.
pub(super) fn written(source: &mut Source) -> Value {
    let id = uuid(source);
    let mut fields = Map::new();
    fields.insert("session_id".into(), json!(id));
    fields.insert("access_key".into(), json!(name(source)));
    let kernels: Vec<_> = (0..=source.below(3)).map(|_| kernel(source)).collect();
    fields.insert("kernels".into(), json!(kernels));
    if source.one_in(2) {
        let types = ["interactive", "batch", "inference", "system", "Batch", "batch ", ""];
        fields.insert("session_type".into(), json!(source.pick(&types)));
    }
    if source.one_in(2) {
        fields.insert("project".into(), json!(name(source)));
    }
    if source.one_in(3) {
        spoil(source, &mut fields);
    }
    Value::Object(fields)
}

fn kernel(source: &mut Source) -> Value {
    let slots: Map<String, Value> =
        (0..source.below(4)).map(|_| (slot_name(source), amount(source))).collect();
    let mut fields = Map::new();
    fields.insert("agent".into(), json!(name(source)));
    fields.insert("slots".into(), Value::Object(slots));
    match source.below(4) {
        0 => drop(fields.insert("kernel_id".into(), json!(uuid(source)))),
        1 => drop(fields.insert("kernel_id".into(), Value::Null)),
        // Likely to be there twice.
        2 if source.one_in(8) => drop(fields.insert("kernel_id".into(), json!(Uuid::nil()))),
        _ => {}
    }
    if source.one_in(8) {
        spoil(source, &mut fields);
    }
    if source.one_in(60) { junk(source) } else { Value::Object(fields) }
}

fn slot_name(source: &mut Source) -> String {
    let names =
        ["cpu", "mem", "cuda.shares", "0", "a-b_c.d", "CPU", "", "_x", "c pu", "cpú", "cpu\n"];
    match source.below(30) {
        0 => "a".repeat(64),
        1 => "a".repeat(65),
        n if n < 12 => source.pick(&names).to_owned(),
        _ => source.pick(&names[..5]).to_owned(),
    }
}

fn amount(source: &mut Source) -> Value {
    match source.below(12) {
        0 => junk(source),
        1 => json!(source.pick(&["-1", "1x", "1e24", "Infinity", "NaN", "", "1 g b"])),
        2 => json!(source.pick(&["0.5", " 16g ", "+4", "1e3", ".5KiB", "007"])),
        _ => json!(source.below(100)),
    }
}

/// Names of every kind, most of them allowed.
fn name(source: &mut Source) -> String {
    match source.below(12) {
        0 => String::new(),
        1 => "ü".repeat(256),
        2 => "😀".repeat(257),
        3 => "x'; drop table occupancy.session; --".to_owned(),
        4 => "line\nbreak\t\"quoted\" \\ {a,b} $1 $$ %s".to_owned(),
        5 => " ".to_owned(),
        _ => format!("nobody-{}", source.below(1000)),
    }
}

fn uuid(source: &mut Source) -> String {
    let id = Uuid::from_u128(u128::from(source.word()) << 64 | u128::from(source.word()));
    match source.below(30) {
        0 => id.simple().to_string(),
        1 => id.to_string().to_uppercase(),
        2 => format!("{{{id}}}"),
        3 => format!("{id} "),
        4 => id.to_string().replacen('-', "--", 1),
        5 => id.to_string().replace(['a', 'b', 'c'], "g"),
        _ => id.to_string(),
    }
}

fn junk(source: &mut Source) -> Value {
    let long = "x".repeat(300);
    let values = [
        json!(null),
        json!(true),
        json!(1),
        json!(-1),
        json!(1.5),
        json!(""),
        json!("x"),
        json!([]),
        json!({}),
        json!([[]]),
        json!([null]),
        json!({"agent": "i"}),
        json!(long),
        json!({"cpu": 1}),
    ];
    source.pick(&values)
}

/// Takes a field away, gives it another value, or adds one.
fn spoil(source: &mut Source, fields: &mut Map<String, Value>) {
    let names: Vec<String> = fields.keys().cloned().collect();
    let name = source.pick(&names);
    match source.below(5) {
        0 => drop(fields.remove(&name)),
        1 => drop(fields.insert(source.pick(&["more", "Agent", "sessionId", ""]).into(), json!(1))),
        _ => drop(fields.insert(name, junk(source))),
    }
}

/// The kernels of a session that wants to wait, or nearly so: most of them name no agent.
pub(super) fn waiting(source: &mut Source) -> Value {
    if source.one_in(40) {
        return junk(source);
    }
    let mut kernels: Vec<Value> = (0..source.below(4)).map(|_| kernel(source)).collect();
    for kernel in &mut kernels {
        let Some(fields) = kernel.as_object_mut() else { continue };
        match source.below(8) {
            0..5 => drop(fields.remove("agent")),
            5 => drop(fields.insert("agent".into(), json!("nobody-1"))),
            6 => drop(fields.insert("agent".into(), Value::Null)),
            _ => {}
        }
    }
    kernels.into()
}

/// The code of the refusal of kernels that are to wait, by a key that nobody registered.
pub(super) fn waiting_refusal(kernels: &Value, multi_node: bool) -> &'static str {
    let Some(kernels) = kernels.as_array().filter(|kernels| !kernels.is_empty()) else {
        return "OC005";
    };
    let mut designated = None;
    for (n, kernel) in kernels.iter().enumerate() {
        if !kernel.is_object() {
            return "OC005";
        }
        let agent = &kernel["agent"];
        if !agent.is_null() {
            let other = designated.is_some_and(|designated| designated != agent);
            if !is_name(agent) || (other && !multi_node) {
                return "OC005";
            }
            designated = Some(agent);
        }
        let named =
            json!({"agent": "named", "slots": kernel["slots"], "kernel_id": kernel["kernel_id"]});
        if let Some(mistake) = kernel_refusal(&named) {
            return mistake;
        }
        if is_repeated(&kernels[..=n]) {
            return "OC005";
        }
    }
    "OC002"
}

/// The code of the refusal of an element on a platform that knows no such key.
pub(super) fn refusal(element: &Value) -> &'static str {
    let known = ["session_id", "access_key", "kernels", "session_type", "project"];
    let fields = element.as_object().expect("an object");
    let of = |name: &str| fields.get(name).unwrap_or(&Value::Null);
    let is_type = |value: &Value| {
        value.as_str().is_some_and(|t| ["interactive", "batch", "inference", "system"].contains(&t))
    };
    let sound = is_uuid(of("session_id"))
        && is_name(of("access_key"))
        && fields.get("session_type").is_none_or(is_type)
        && (of("project").is_null() || is_name(of("project")))
        && fields.keys().all(|name| known.contains(&name.as_str()));
    if !sound {
        return "OC005";
    }
    match of("kernels").as_array() {
        Some(kernels) if !kernels.is_empty() => {
            let mistake = kernels.iter().find_map(kernel_refusal);
            mistake.unwrap_or(if is_repeated(kernels) { "OC005" } else { "OC002" })
        }
        _ => "OC005",
    }
}

fn kernel_refusal(kernel: &Value) -> Option<&'static str> {
    if !is_name(&kernel["agent"]) {
        return Some("OC005");
    }
    let slots = kernel["slots"].as_object();
    let is_amount = |amount: &Value| model::json(&amount.to_string()).is_some();
    if !slots
        .is_some_and(|slots| slots.iter().all(|(name, amount)| is_slot(name) && is_amount(amount)))
    {
        return Some("OC001");
    }
    let id = &kernel["kernel_id"];
    (!id.is_null() && !is_uuid(id)).then_some("OC005")
}

fn is_repeated(kernels: &[Value]) -> bool {
    let ids =
        kernels.iter().filter_map(|kernel| Uuid::parse_str(kernel["kernel_id"].as_str()?).ok());
    let mut ids: Vec<_> = ids.collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    ids.len() < all
}

fn is_name(value: &Value) -> bool {
    value.as_str().is_some_and(|text| (1..=256).contains(&text.chars().count()))
}

fn is_slot(name: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c);
    let first = name.bytes().next().is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    first && name.len() <= 64 && name.bytes().all(inner)
}

/// 8, 4, 4, 4 and 12 hexadecimal digits, with or without hyphens in between.
fn is_uuid(value: &Value) -> bool {
    let Some(text) = value.as_str() else { return false };
    let mut rest = text.as_bytes();
    for (n, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if n > 0 {
            rest = rest.strip_prefix(b"-").unwrap_or(rest);
        }
        match rest.split_at_checked(length) {
            Some((part, after)) if part.iter().all(u8::is_ascii_hexdigit) => rest = after,
            _ => return false,
        }
    }
    rest.is_empty()
}
