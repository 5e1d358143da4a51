//! Resource slots: which amounts are understood, as what, and that all others are refused.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::support::fixture::{Fixture, id, request};

/// A plain model of the grammar: amounts as whole numbers of 10⁻¹².
pub(crate) mod model {
    const SCALE: i32 = 12;
    /// 10²⁴ is the first number with so many digits in units of 10⁻¹².
    const DIGITS: i32 = 36;
    const SPACE: [char; 6] = [' ', '\t', '\n', '\x0b', '\x0c', '\r'];

    /// What a string stands for.
    pub(super) fn string(text: &str) -> Option<u128> {
        let text = text.trim_matches(SPACE);
        let text = text.strip_prefix('+').unwrap_or(text);
        let (number, power) = suffix(text);
        let number = number.trim_end_matches(SPACE);
        let exponent_digits =
            number.split_once(['e', 'E']).map_or("0", |(_, e)| e.trim_start_matches(['+', '-']));
        if exponent_digits.len() > 2 { None } else { decimal(number, power) }
    }

    /// What a JSON number stands for.
    pub(super) fn number(text: &str) -> Option<u128> {
        match text.strip_prefix('-') {
            Some(text) => decimal(text, 0).filter(|amount| *amount == 0),
            None => decimal(text, 0),
        }
    }

    /// Text without its suffix, and the power of 1024 that it stands for.
    fn suffix(text: &str) -> (&str, u32) {
        let lower = text.to_ascii_lowercase();
        let stem =
            lower.strip_suffix('b').map_or(&*lower, |stem| stem.strip_suffix('i').unwrap_or(stem));
        let powers = ['k', 'm', 'g', 't', 'p'];
        match (1..).zip(powers).find(|(_, letter)| stem.ends_with(*letter)) {
            Some((power, _)) => (&text[..stem.len() - 1], power),
            None => (text, 0),
        }
    }

    /// Digits with an optional point and exponent, times a power of 1024, if it is an amount.
    fn decimal(text: &str, power: u32) -> Option<u128> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        if !all_digits(&digits) || !all_digits(unsigned) {
            return None;
        }
        let product = times_power_of_1024(&digits, power);
        let significant = product.trim_end_matches('0');
        let trailing = i32::try_from(product.len() - significant.len()).ok()?;
        let significant = significant.trim_start_matches('0');
        if significant.is_empty() {
            return Some(0);
        }
        let fraction = i32::try_from(fraction.len()).ok()?;
        // How many zeros belong behind what is left.
        let zeros = exponent.parse::<i32>().ok()?.checked_sub(fraction)? + trailing + SCALE;
        let length = i32::try_from(significant.len()).ok()?.checked_add(zeros)?;
        if zeros < 0 || length > DIGITS {
            return None;
        }
        Some(significant.parse::<u128>().ok()? * 10_u128.pow(zeros.cast_unsigned()))
    }

    /// Digits of any number, multiplied as on paper.
    fn times_power_of_1024(digits: &str, power: u32) -> String {
        let mut product: Vec<u8> = digits.bytes().rev().map(|c| c - b'0').collect();
        for _ in 0..power {
            let mut carry = 0_u32;
            for digit in &mut product {
                carry += u32::from(*digit) * 1024;
                *digit = u8::try_from(carry % 10).expect("a digit");
                carry /= 10;
            }
            while carry > 0 {
                product.push(u8::try_from(carry % 10).expect("a digit"));
                carry /= 10;
            }
        }
        product.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
    }

    /// The canonical form.
    pub(super) fn canonical(amount: u128) -> String {
        let unit = 10_u128.pow(12);
        let decimals = format!("{:012}", amount % unit);
        let decimals = decimals.trim_end_matches('0');
        let point = if decimals.is_empty() { "" } else { "." };
        format!("{}{point}{decimals}", amount / unit)
    }

    /// What a JSON value in its written form stands for.
    pub(crate) fn json(text: &str) -> Option<String> {
        let amount = match serde_json::from_str::<String>(text) {
            Ok(content) => string(&content),
            Err(_) => number(text),
        };
        amount.map(canonical)
    }
}

/// Amounts in their JSON form, with the canonical form of what they stand for.
const WELL_FORMED: &[(&str, &str)] = &[
    ("4", "4"),
    ("0", "0"),
    ("-0", "0"),
    ("0.0", "0"),
    ("4.50", "4.5"),
    ("1e3", "1000"),
    ("1.5E+2", "150"),
    ("25e-2", "0.25"),
    ("0.000000000001", "0.000000000001"),
    ("1.0000000000000000000", "1"),
    ("0.1", "0.1"),
    ("999999999999999999999999", "999999999999999999999999"),
    ("999999999999999999999999.999999999999", "999999999999999999999999.999999999999"),
    (r#""4""#, "4"),
    (r#""0.5""#, "0.5"),
    (r#""5.""#, "5"),
    (r#"".5""#, "0.5"),
    (r#""+4""#, "4"),
    (r#""007""#, "7"),
    (r#""0.300""#, "0.3"),
    (r#""1e3""#, "1000"),
    (r#""1E-12""#, "0.000000000001"),
    (r#""1e+2""#, "100"),
    (r#""1e23""#, "100000000000000000000000"),
    (r#""0e99""#, "0"),
    (r#""1k""#, "1024"),
    (r#""1K""#, "1024"),
    (r#""1kb""#, "1024"),
    (r#""1KiB""#, "1024"),
    (r#""1kIb""#, "1024"),
    (r#""2m""#, "2097152"),
    (r#""16g""#, "17179869184"),
    (r#""1.5 GiB""#, "1610612736"),
    (r#""1t""#, "1099511627776"),
    (r#""1p""#, "1125899906842624"),
    (r#""1e2 k""#, "102400"),
    (r#""0.0000000000005k""#, "0.000000000512"),
    (r#"" \t\n\u000b\f\r4 \t\n\u000b\f\rg \t\n\u000b\f\r""#, "4294967296"),
    (r#""999999999999999999999999.999999999999""#, "999999999999999999999999.999999999999"),
];

/// What stands for no amount.
const MALFORMED: &[&str] = &[
    "-1",
    "-0.5",
    "1e24",
    "1000000000000000000000000",
    "999999999999999999999999.9999999999999",
    "0.0000000000001",
    "1e-13",
    "true",
    "false",
    "null",
    "[]",
    "[4]",
    "{}",
    r#"{"cpu": 4}"#,
    r#""""#,
    r#"" ""#,
    r#"".""#,
    r#""+""#,
    r#""-1""#,
    r#""-0""#,
    r#""+-1""#,
    r#""++1""#,
    r#""+ 1""#,
    r#""1 2""#,
    r#""1,5""#,
    r#""1,000""#,
    r#""1_000""#,
    r#""0x10""#,
    r#""0b1""#,
    r#""0o7""#,
    r#""1e""#,
    r#""1e100""#,
    r#""1e+""#,
    r#""1 e2""#,
    r#""1e 2""#,
    r#""e2""#,
    r#""1.2.3""#,
    r#""NaN""#,
    r#""nan""#,
    r#""-Infinity""#,
    r#""1b""#,
    r#""1ib""#,
    r#""1ki""#,
    r#""1kk""#,
    r#""1 k b""#,
    r#""1e5e""#,
    r#""k""#,
    r#""1x""#,
    r#""1;""#,
    r#""1e23k""#,
    r#""1000000000000000000000000""#,
    r#""1e24""#,
    r#""1e-13""#,
    r#""0.0000000000001""#,
    r#""0.0000000000001k""#,
    r#""٤""#,
    r#""４""#,
    r#""1\u00a0""#,
    r#""\u20031""#,
    r#""1\u017f""#,
    r#""1\u212a""#,
    r#""½""#,
    r#""true""#,
    r#""null""#,
];

/// `Infinity` means something in limits only.
const INFINITE: &[&str] =
    &[r#""Infinity""#, r#""infinity""#, r#""INFINITY""#, r#""inf""#, r#""Inf""#];

/// Whole objects that are none of resource slots.
fn malformed_objects() -> Vec<String> {
    let amounts = MALFORMED.iter().map(|amount| format!(r#"{{"cpu": 1, "mem": {amount}}}"#));
    let long_name = format!(r#"{{"{}": 1}}"#, "a".repeat(65));
    let many: serde_json::Map<String, Value> =
        (0..65).map(|n| (format!("slot{n}"), json!(0))).collect();
    let digits = "9".repeat(131_073);
    let names =
        ["", " ", "CPU", "_cpu", ".cpu", "-cpu", "cpu ", "c pu", "cpu/1", "cpú", "c\\n", "cpu\\n"];
    amounts
        .chain(names.map(|name| format!(r#"{{"{name}": 1}}"#)))
        .chain(["1", "true", r#""cpu""#, "[]", r#"[{"cpu": 1}]"#].map(str::to_owned))
        .chain([long_name, Value::Object(many).to_string()])
        .chain([format!(r#"{{"cpu": "{digits}"}}"#), format!(r#"{{"cpu": {}}}"#, &digits[1..])])
        .chain([format!(r#"{{"cpu": "{}"}}"#, "1".repeat(1_000_000))])
        .chain([format!(r#"{{"{}": 1}}"#, "a".repeat(1_000_000))])
        .collect()
}

/// Every call that takes slots, with the slots as a text in `$1`.
const TAKING_AMOUNTS: &[&str] = &[
    "select occupancy.put_agent('i-01', $1::text::jsonb)",
    "select occupancy.put_agent('i-99', $1::text::jsonb)",
    "select occupancy.settle_kernel('00000000-0000-0000-0000-000000000001', $1::text::jsonb)",
    "select occupancy.reserve_session('00000000-0000-0000-0000-00000000000a', 'AK',
       jsonb_build_array(jsonb_build_object('agent', 'i-01', 'slots', $1::text::jsonb)))",
    "select occupancy.check_session('00000000-0000-0000-0000-00000000000a', 'AK',
       jsonb_build_array(
         jsonb_build_object('agent', 'i-01', 'slots', '{\"cpu\": 1}'::jsonb),
         jsonb_build_object('agent', 'i-02', 'slots', $1::text::jsonb)))",
];
const TAKING_LIMITS: &[&str] = &[
    "select occupancy.put_resource_policy('open', total_resource_slots => $1::text::jsonb)",
    "select occupancy.put_resource_policy('new', max_pending_resource_slots => $1::text::jsonb)",
    "select occupancy.put_quota('user', 'u1', total_resource_slots => $1::text::jsonb)",
];

/// The fixture with a session of one kernel whose id is 1.
async fn with_a_kernel() -> Fixture {
    let f = Fixture::new().await;
    let mut first = request(1, "AK", &[("i-01", json!({"cpu": 1}))]);
    first["kernels"][0]["kernel_id"] = json!(id(1));
    assert_eq!(f.reserve(&first).await["outcome"], "admitted");
    f
}

#[tokio::test]
async fn malformed_slots_are_refused_and_change_nothing() {
    let f = with_a_kernel().await;
    let mut objects = malformed_objects();
    f.unchanged(async {
        for call in TAKING_AMOUNTS.iter().chain(TAKING_LIMITS) {
            for object in &objects {
                let code = f.refused(call, &[object]).await;
                assert_eq!(code, "OC001", "{call} of {object:.60}");
            }
        }
        // A limit of null is none; a request of null is a mistake.
        objects = INFINITE.iter().map(|amount| format!(r#"{{"cpu": {amount}}}"#)).collect();
        objects.push("null".to_owned());
        for call in TAKING_AMOUNTS {
            for object in &objects {
                assert_eq!(f.refused(call, &[object]).await, "OC001", "{call} of {object}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn slots_that_are_missing_are_refused() {
    let f = with_a_kernel().await;
    f.unchanged(async {
        let mut missing = request(2, "AK", &[]);
        missing["kernels"] = json!([{"agent": "i-01"}]);
        assert_eq!(f.reserve_refused(&missing).await, "OC001");
        let settled = "select occupancy.settle_kernel($1, null)";
        assert_eq!(f.refused(settled, &[&id(1)]).await, "OC001");
    })
    .await;
}

#[tokio::test]
async fn a_number_too_long_for_the_server_changes_nothing_either() {
    let f = with_a_kernel().await;
    let object = format!(r#"{{"cpu": {}}}"#, "9".repeat(131_073));
    f.unchanged(async {
        for call in TAKING_AMOUNTS.iter().chain(TAKING_LIMITS) {
            // The server's own: it reads the argument before the function is called.
            assert_eq!(f.refused(call, &[&object]).await, "22003");
        }
    })
    .await;
}

#[tokio::test]
async fn well_formed_amounts_are_stored_in_canonical_form() {
    let f = with_a_kernel().await;
    for (written, canonical) in WELL_FORMED {
        let object = format!(r#"{{"cpu": {written}}}"#);
        let sql = "select * from occupancy.settle_kernel($1, $2::text::jsonb)";
        assert_eq!(f.row(sql, &[&id(1), &object]).await["outcome"], "settled");
        let expected = if *canonical == "0" { json!({}) } else { json!({"cpu": canonical}) };
        assert_eq!(f.occupied("i-01").await, expected, "{written}");
    }
    f.assert_sound().await;
}

/// A million characters that stand for nothing, wherever the grammar has them; and as many that make
/// no amount. What went through them again for each would overrun the time of the statement.
#[tokio::test]
async fn an_amount_may_be_written_as_long_as_one_likes() {
    const MANY: usize = 1_000_000;
    let f = with_a_kernel().await;
    f.run("set statement_timeout = '30s'").await;
    let [zeros, blanks, nines] = ["0", " ", "9"].map(|character| character.repeat(MANY));
    let whole = "9".repeat(24);
    let amounts = [
        (zeros.clone(), Some("0")),
        (format!("{zeros}5"), Some("5")),
        (format!("+{zeros}.5{zeros}e1 k"), Some("5120")),
        (
            format!("{zeros}{whole}.{}{zeros}", &nines[..12]),
            Some("999999999999999999999999.999999999999"),
        ),
        (format!("{zeros}88817841970012523233890533447265625e-50P"), Some("1")),
        (format!("5{blanks}"), Some("5")),
        (format!("{blanks}5{blanks}kIb{blanks}"), Some("5120")),
        (format!("1{zeros}"), None),
        (format!("1{}e-99", &zeros[..600]), None),
        (format!("0.{zeros}1"), None),
        (format!("{zeros}1{}", &zeros[..24]), None),
        (format!("{zeros}x"), None),
        (format!("{zeros} 1"), None),
        (format!("{zeros}.5.{zeros}"), None),
        (format!("5{blanks}b"), None),
        (format!("-{zeros}5"), None),
        ("0.".repeat(MANY), None),
        (nines, None),
        (blanks, None),
    ];
    for (written, canonical) in amounts {
        let object = json!({"cpu": written}).to_string();
        assert_eq!(model::json(&json!(written).to_string()).as_deref(), canonical, "{object:.60}");
        let sql = "select occupancy.settle_kernel($1, $2::text::jsonb)";
        match canonical {
            Some(canonical) => {
                f.rows(sql, &[&id(1), &object]).await;
                let stored = if canonical == "0" { json!({}) } else { json!({"cpu": canonical}) };
                assert_eq!(f.occupied("i-01").await, stored, "{object:.60}");
            }
            None => assert_eq!(f.refused(sql, &[&id(1), &object]).await, "OC001", "{object:.60}"),
        }
    }
    f.assert_sound().await;
}

#[tokio::test]
async fn limits_keep_their_zeros_and_know_infinity() {
    let f = Fixture::new().await;
    let canonical = WELL_FORMED.iter().copied();
    for (written, canonical) in canonical.chain(INFINITE.iter().map(|amount| (*amount, "Infinity")))
    {
        let object = format!(r#"{{"cpu": {written}}}"#);
        for (put, view) in [
            ("put_quota('user', 'u1', null, $1::text::jsonb)", "quotas"),
            ("put_resource_policy('open', total_resource_slots => $1::text::jsonb)", "concurrency"),
        ] {
            f.row(&format!("select * from occupancy.{put}"), &[&object]).await;
            let sql =
                format!("select distinct total_resource_slots as limits from occupancy.{view}");
            assert_eq!(
                f.row(&sql, &[]).await["limits"],
                json!({"cpu": canonical}),
                "{put} {written}"
            );
        }
    }
}

#[tokio::test]
async fn slot_names_use_their_whole_alphabet_up_to_64_of_64() {
    let f = Fixture::new().await;
    let names = ["0", "a", "cuda.shares", "a-b_c.d", &"z".repeat(64)].map(str::to_owned);
    let names = names.into_iter().chain((0..59).map(|n| format!("s{n}")));
    let slots: serde_json::Map<String, Value> = names.map(|name| (name, json!("1"))).collect();
    assert_eq!(slots.len(), 64);
    let slots = Value::Object(slots);
    f.row("select * from occupancy.put_agent('i-01', $1)", &[&slots]).await;
    let answer = f.reserve(&request(1, "AK", &[("i-01", slots.clone())])).await;
    assert_eq!(answer["outcome"], "admitted");
    assert_eq!(f.occupied("i-01").await, slots);
    f.assert_sound().await;
}

#[tokio::test]
async fn only_slots_that_are_asked_for_are_compared_and_zero_equals_absent() {
    let f = Fixture::new().await;
    f.run("select occupancy.put_agent('i-01', '{\"cpu\": 1}')").await;
    let cases = [
        (json!({}), "admitted"),
        (json!({"cuda.shares": 0}), "admitted"),
        (json!({"cuda.shares": "0.000000000001"}), "rejected"),
        (json!({"cpu": "1.000000000001"}), "rejected"),
        (json!({"cpu": 1}), "admitted"),
        (json!({"cpu": "0.000000000001"}), "rejected"),
        (json!({"cpu": 0}), "admitted"),
    ];
    for (n, (slots, outcome)) in (1..).zip(cases) {
        let answer = f.reserve(&request(n, "AK", &[("i-01", slots.clone())])).await;
        assert_eq!(answer["outcome"], outcome, "{slots}");
    }
    // Now that capacity is below what is occupied, whoever asks for no cpu is still welcome.
    f.run("select occupancy.put_agent('i-01', '{\"mem\": 1}')").await;
    let answer = f.reserve(&request(10, "AK", &[("i-01", json!({"mem": 1}))])).await;
    assert_eq!(answer["outcome"], "admitted");
    f.assert_sound().await;
}

#[tokio::test]
async fn fractions_add_up_exactly() {
    let f = Fixture::new().await;
    f.run("select occupancy.put_agent('i-01', '{\"cuda.shares\": 1}')").await;
    let tenth = |n| request(n, "AK", &[("i-01", json!({"cuda.shares": "0.1"}))]);
    let tenths: Vec<Value> = (1..=11).map(tenth).collect();
    let answers = f.reserve_all(&tenths).await;
    assert!(answers[..10].iter().all(|answer| answer["outcome"] == "admitted"));
    assert_eq!(answers[10]["violations"][0]["used"], "1");
    for n in 1..=10 {
        f.row("select * from occupancy.release_session($1)", &[&id(n)]).await;
    }
    assert_eq!(f.occupied("i-01").await, json!({}));
}

/// JSON values: amounts, near misses and anything else.
fn written_amounts() -> impl Strategy<Value = String> {
    const STRING: &str = "[ \t\n\r]{0,2}[+]?([0-9]{1,26}([.][0-9]{0,12})?|[.][0-9]{1,14})\
                          ([eE][+-]?[0-9]{1,2})?[ ]{0,2}([kKmMgGtTpP]([iI]?[bB])?)?[ \n]{0,2}";
    const SHORT: &str = "[+]?[0-9]{0,3}[.]?[0-9]{0,3}([eE][+-]?[0-9]{0,3})?([kmgtp]?[i]?[b]?)";
    const NUMBER: &str = "-?(0|[1-9][0-9]{0,25})([.][0-9]{1,13})?([eE][+-]?[0-9]{1,3})?";
    let near_miss = (STRING, 0..40_usize, "[-+.eEkib_x ٤４\u{a0}\u{2003}\u{212a}N]").prop_map(
        |(mut text, at, more)| {
            text.insert_str(at.min(text.len()), &more);
            text
        },
    );
    // A text of jsonb holds every character but this one.
    let any = any::<String>().prop_map(|text| text.replace('\0', ""));
    let strings = prop_oneof![STRING, SHORT, near_miss, any];
    prop_oneof![3 => strings.prop_map(|text| Value::from(text).to_string()), 1 => NUMBER]
}

/// How the database understands each amount, learned from a batch on an agent without capacity: a
/// zero amount is admitted, any other one is rejected with its canonical form.
async fn understood(f: &Fixture, amounts: &[String]) -> Vec<Option<String>> {
    let elements = amounts.iter().map(|amount| {
        format!(
            r#"{{"session_id": "{}", "access_key": "AK",
                 "kernels": [{{"agent": "bare", "slots": {{"cpu": {amount}}}}}]}}"#,
            uuid::Uuid::new_v4()
        )
    });
    let batch = format!("[{}]", elements.collect::<Vec<_>>().join(","));
    let sql = "select * from occupancy.reserve_sessions($1::text::jsonb)";
    let answers = f.rows(sql, &[&batch]).await;
    let one = |answer: &Value| match (answer["outcome"].as_str(), answer["code"].as_str()) {
        (Some("admitted"), None) => Some("0".to_owned()),
        (Some("rejected"), Some("agent_capacity")) => {
            answer["violations"][0]["requested"].as_str().map(str::to_owned)
        }
        (Some("invalid"), Some("OC001")) => None,
        _ => panic!("{answer}"),
    };
    answers.iter().map(one).collect()
}

#[test]
fn the_model_knows_the_tables() {
    for (written, canonical) in WELL_FORMED {
        assert_eq!(model::json(written).as_deref(), Some(*canonical), "{written}");
    }
    let scalars = MALFORMED.iter().filter(|text| !text.starts_with(['[', '{', 't', 'f', 'n']));
    for written in scalars {
        assert_eq!(model::json(written), None, "{written}");
    }
}

#[test]
fn every_amount_means_what_the_model_says() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let f = runtime.block_on(async {
        let f = Fixture::new().await;
        f.run("select occupancy.put_agent('bare', '{}')").await;
        f
    });
    let config = Config { cases: 25, failure_persistence: None, ..Config::default() };
    let batches = prop::collection::vec(written_amounts(), 1..400);
    TestRunner::new(config)
        .run(&batches, |amounts| {
            let understood = runtime.block_on(understood(&f, &amounts));
            for (amount, understood) in amounts.iter().zip(understood) {
                prop_assert_eq!(understood, model::json(amount), "{}", amount);
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}
