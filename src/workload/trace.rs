//! Reading a cluster trace in the CSV form of OpenB.

use std::collections::HashSet;
use std::path::Path;

use csv::StringRecord;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::workload::view::Demand;

/// A node of the trace: an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) capacity: Demand,
}

/// A task of the trace: a session of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) demand: Demand,
    /// In seconds of the trace's clock: when it was scheduled, or created if it never was.
    pub(crate) arrival: u64,
    /// When it was deleted, never before its arrival; `None` if it was not.
    pub(crate) departure: Option<u64>,
}

#[derive(Deserialize)]
struct NodeRow {
    sn: String,
    cpu_milli: u64,
    memory_mib: u64,
    gpu: u64,
}

#[derive(Deserialize)]
struct PodRow {
    name: String,
    cpu_milli: u64,
    memory_mib: u64,
    num_gpu: u64,
    gpu_milli: u64,
    creation_time: u64,
    deletion_time: Option<u64>,
    scheduled_time: Option<u64>,
}

/// Reads the nodes.
///
/// # Errors
/// [`ErrorKind::Io`] with file and line for whatever cannot be read, and for a name that comes
/// twice.
pub(crate) fn nodes(path: &Path) -> Result<Vec<Node>> {
    rows(path, |row: NodeRow| {
        let gpu_milli = row.gpu.checked_mul(1000).ok_or("gpu is too large")?;
        let capacity = Demand { cpu_milli: row.cpu_milli, mem_mib: row.memory_mib, gpu_milli };
        Ok((row.sn.clone(), Node { name: row.sn, capacity }))
    })
}

/// Reads the tasks.
///
/// # Errors
/// As [`nodes`]; and for a task that was deleted before it was there.
pub(crate) fn pods(path: &Path) -> Result<Vec<Pod>> {
    rows(path, |row: PodRow| {
        let shares = row.num_gpu.checked_mul(row.gpu_milli);
        let gpu_milli = shares.ok_or("num_gpu and gpu_milli are too large")?;
        let arrival = row.scheduled_time.unwrap_or(row.creation_time);
        if row.deletion_time.is_some_and(|departure| departure < arrival) {
            return Err("deletion_time is before scheduled_time or creation_time");
        }
        let pod = Pod {
            name: row.name.clone(),
            demand: Demand { cpu_milli: row.cpu_milli, mem_mib: row.memory_mib, gpu_milli },
            arrival,
            departure: row.deletion_time,
        };
        Ok((row.name, pod))
    })
}

/// Reads every row, or none: the first one that is wrong is the error.
fn rows<R: DeserializeOwned, T>(
    path: &Path,
    convert: impl Fn(R) -> Result<(String, T), &'static str>,
) -> Result<Vec<T>> {
    let unreadable = |detail: String| {
        Error::new(ErrorKind::Io, format!("cannot read {}", path.display())).detail(detail)
    };
    let mut reader =
        csv::Reader::from_path(path).map_err(|error| unreadable(complaint(&error, None)))?;
    let header = reader.headers().map_err(|error| unreadable(complaint(&error, None)))?.clone();
    let malformed = |error: csv::Error| unreadable(complaint(&error, Some(&header)));
    let (mut names, mut values) = (HashSet::new(), Vec::new());
    for record in reader.records() {
        let record = record.map_err(malformed)?;
        let row = record.deserialize(Some(&header)).map_err(malformed)?;
        let wrong = |what: &str| unreadable(format!("line {}: {what}", line(&record)));
        let (name, value) = convert(row).map_err(wrong)?;
        if name.is_empty() || name.chars().count() > 256 {
            return Err(wrong("its name is not 1 to 256 characters long"));
        }
        if !names.insert(name) {
            return Err(wrong("its name was there before"));
        }
        values.push(value);
    }
    if values.is_empty() {
        return Err(unreadable("it has no rows".to_owned()));
    }
    Ok(values)
}

fn line(record: &StringRecord) -> u64 {
    record.position().map_or(0, csv::Position::line)
}

/// What is wrong, in which line and column.
fn complaint(error: &csv::Error, header: Option<&StringRecord>) -> String {
    let place = error.position().map(|position| format!("line {}: ", position.line()));
    let what = match error.kind() {
        csv::ErrorKind::Io(error) => error.to_string(),
        csv::ErrorKind::Deserialize { err, .. } => {
            let column = err.field().and_then(|field| header?.get(usize::try_from(field).ok()?));
            let column = column.map(|name| format!("{name}: ")).unwrap_or_default();
            format!("{column}{}", err.kind())
        }
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("it has {len} fields instead of {expected_len}")
        }
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8".to_owned(),
        _ => error.to_string(),
    };
    format!("{}{what}", place.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tempfile::NamedTempFile;

    use super::*;

    const HEADER: &str = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,\
                          creation_time,deletion_time,scheduled_time";

    fn file(header: &str, rows: &[&str]) -> NamedTempFile {
        let mut file = NamedTempFile::new().expect("a file");
        writeln!(file, "{header}\n{}", rows.join("\n")).expect("written");
        file
    }

    #[test]
    fn a_task_asks_for_exact_shares() {
        let rows = ["a,11900,12288,1,460,,LS,Running,5,20,7", "b,1000,1,8,1000,,BE,Pending,6,9,"];
        let pods = pods(file(HEADER, &rows).path()).expect("sound");
        assert_eq!(pods[0].demand.slots().get("cuda.shares"), Some("0.46"));
        assert_eq!((pods[0].arrival, pods[0].departure), (7, Some(20)));
        assert_eq!(pods[1].demand.gpu_milli, 8000);
        assert_eq!((pods[1].arrival, pods[1].departure), (6, Some(9)));
    }

    #[test]
    fn a_wrong_row_is_named_by_its_line() {
        let good = "a,1,1,0,0,,LS,Running,5,20,7";
        for (wrong, complaint) in [
            ("b,x,1,0,0,,LS,Running,5,20,7", "line 3: cpu_milli: invalid digit found in string"),
            ("b,-1,1,0,0,,LS,Running,5,20,7", "line 3: cpu_milli: invalid digit found in string"),
            ("b,1,1,0,0,,LS,Running,5,6,7", "line 3: deletion_time is before"),
            ("a,1,1,0,0,,LS,Running,5,20,7", "line 3: its name was there before"),
            (",1,1,0,0,,LS,Running,5,20,7", "line 3: its name is not 1 to 256"),
            ("b,1", "line 3: it has 2 fields instead of 11"),
        ] {
            let error = pods(file(HEADER, &[good, wrong]).path()).expect_err(wrong);
            let detail = error.detail_text().expect("a detail");
            assert!(detail.starts_with(complaint), "{detail}");
        }
    }

    #[test]
    fn another_file_is_refused() {
        let nodes_header = "sn,cpu_milli,memory_mib,gpu,model";
        let error = pods(file(nodes_header, &["n,1,1,0,"]).path()).expect_err("no tasks");
        assert_eq!(error.detail_text(), Some("line 2: missing field `name`"));
        let error = nodes(file(nodes_header, &[]).path()).expect_err("empty");
        assert_eq!(error.detail_text(), Some("it has no rows"));
        nodes(Path::new("/nonexistent.csv")).expect_err("no file");
    }
}
