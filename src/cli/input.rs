//! Arguments as people type them.

use std::time::Duration;

use uuid::Uuid;

use crate::model::KernelRequest;
use crate::scheduling::QueuedKernel;
use crate::slots::ResourceSlots;

/// What clap shows beside the argument that it could not read.
type Complaint = String;

/// `cpu=4,mem=16g` or a JSON object. Amounts are left to the database, which knows their grammar.
pub(super) fn slots(text: &str) -> Result<ResourceSlots, Complaint> {
    if text.trim_start().starts_with('{') {
        return text.parse().map_err(|error: crate::Error| {
            format!("{error}: {}", error.detail_text().unwrap_or_default())
        });
    }
    pairs(text)?
        .into_iter()
        .try_fold(ResourceSlots::new(), |slots, (name, amount)| add(slots, name, amount))
}

/// `agent=i-01,cpu=4,mem=16g`, with `kernel_id=…` if the caller has one, or a JSON object with
/// `agent`, `slots` and perhaps `kernel_id`.
pub(super) fn kernel(text: &str) -> Result<KernelRequest, Complaint> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    let QueuedKernel { kernel_id, agent, slots } = queued_kernel(text)?;
    let agent = agent.ok_or("it names no agent: write agent=i-01,cpu=4")?;
    Ok(KernelRequest { kernel_id, agent, slots })
}

/// `cpu=4,mem=16g`, with `agent=i-01` if it must run there, and as [`kernel`] apart from that.
pub(super) fn queued_kernel(text: &str) -> Result<QueuedKernel, Complaint> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    let (mut agent, mut kernel_id, mut slots) = (None, None, ResourceSlots::new());
    for (name, value) in pairs(text)? {
        match name {
            "agent" if agent.is_some() => return Err("agent is given twice".to_owned()),
            "kernel_id" if kernel_id.is_some() => return Err("kernel_id is given twice".to_owned()),
            "agent" => agent = Some(value.to_owned()),
            "kernel_id" => kernel_id = Some(value.parse::<Uuid>().map_err(|e| e.to_string())?),
            _ => slots = add(slots, name, value)?,
        }
    }
    Ok(QueuedKernel { kernel_id, agent, slots })
}

fn pairs(text: &str) -> Result<Vec<(&str, &str)>, Complaint> {
    let pair =
        |part| str::split_once(part, '=').ok_or_else(|| format!("`{part}` is no name=value"));
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(pair).collect()
}

fn add(slots: ResourceSlots, name: &str, amount: &str) -> Result<ResourceSlots, Complaint> {
    match slots.get(name) {
        Some(_) => Err(format!("{name} is given twice")),
        None => Ok(slots.with(name, amount)),
    }
}

/// A span of time as jiff reads it; days are of 24 hours.
pub(super) fn span(text: &str) -> Result<Duration, Complaint> {
    let span: jiff::Span = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    let duration = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(|error| error.to_string())?;
    Duration::try_from(duration).map_err(|_| "it must not be negative".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_typed_in_short_or_as_json() {
        let short = kernel("agent=i-01,cpu=4,cuda.shares=0.5").expect("short form");
        let long = r#"{"agent": "i-01", "slots": {"cpu": 4, "cuda.shares": 0.5}}"#;
        assert_eq!(kernel(long).expect("JSON"), short);
        assert_eq!(short.slots.get("cuda.shares"), Some("0.5"));
        let id = "00000000-0000-0000-0000-000000000001";
        let with_id = kernel(&format!("agent=i-01,kernel_id={id}")).expect("short form");
        assert_eq!(with_id.kernel_id, Some(id.parse().expect("an id")));
    }

    #[test]
    fn a_kernel_that_waits_needs_no_agent() {
        let short = queued_kernel("cpu=4,mem=16g").expect("short form");
        let long = r#"{"slots": {"cpu": 4, "mem": "16g"}}"#;
        assert_eq!(queued_kernel(long).expect("JSON"), short);
        assert_eq!(short.agent, None);
        let there = queued_kernel("cpu=4,agent=i-01").expect("short form");
        assert_eq!(there.agent.as_deref(), Some("i-01"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for wrong in [
            "cpu=4",
            "agent=i-01,cpu",
            "agent=i-01,cpu=1,cpu=2",
            "agent=a,kernel_id=1",
            "agent=a,agent=b",
        ] {
            kernel(wrong).expect_err(wrong);
        }
        for wrong in ["cpu", "cpu=1,cpu=2", "kernel_id=1", "{\"cpu\": 1}"] {
            queued_kernel(wrong).expect_err(wrong);
        }
        slots("{]").expect_err("no JSON");
        assert!(slots("").expect("nothing at all").is_empty());
    }
}
