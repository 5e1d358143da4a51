//! Finds what was changed in the database by hand.

use std::fmt;

use serde::Serialize;
use tokio_postgres::{Client, IsolationLevel};

use super::ledger::{is_installed, not_installed};
use super::script::{OBJECTS, SETTINGS};
use crate::error::Result;

/// An object of the schema that is not as the last migration left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `function`, `view`, `table`, `column`, `constraint`, `index`, `trigger`, `type` and so on.
    pub kind: String,
    /// Its qualified name, for a function with the types of its arguments.
    pub identity: String,
    /// What happened to it.
    pub change: Change,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.kind, self.identity, self.change)
    }
}

/// How an object differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Change {
    /// It was dropped or renamed.
    Missing,
    /// It was made by hand.
    Extra,
    /// It was replaced or altered.
    Definition,
    /// Somebody may use it who might not before, or the reverse.
    Grants,
    /// Its COMMENT was changed.
    Comment,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Extra => "not ours",
            Self::Definition => "changed by hand",
            Self::Grants => "grants changed by hand",
            Self::Comment => "comment changed by hand",
        })
    }
}

/// Compares what is recorded with what is there, in one snapshot.
pub(super) async fn verify(client: &mut Client) -> Result<Vec<Difference>> {
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    transaction.batch_execute(SETTINGS).await?;
    if !is_installed(&transaction).await? {
        return Err(not_installed());
    }
    let query = format!(
        "select kind, identity,
                recorded.kind is null as extra,
                found.kind is null as missing,
                recorded.definition is distinct from found.definition as definition,
                recorded.grants is distinct from found.grants as grants,
                recorded.comment is distinct from found.comment as comment
           from occupancy.schema_object as recorded
           full join ({OBJECTS}) as found using (kind, identity)
          where (recorded.definition, recorded.grants, recorded.comment)
                is distinct from (found.definition, found.grants, found.comment)
          order by kind, identity"
    );
    let mut differences = Vec::new();
    for row in transaction.query(&query, &[]).await? {
        let changes = if row.try_get("extra")? {
            vec![Change::Extra]
        } else if row.try_get("missing")? {
            vec![Change::Missing]
        } else {
            let mut changes = Vec::new();
            for (column, change) in [
                ("definition", Change::Definition),
                ("grants", Change::Grants),
                ("comment", Change::Comment),
            ] {
                if row.try_get(column)? {
                    changes.push(change);
                }
            }
            changes
        };
        for change in changes {
            let (kind, identity) = (row.try_get("kind")?, row.try_get("identity")?);
            differences.push(Difference { kind, identity, change });
        }
    }
    transaction.commit().await?;
    Ok(differences)
}
