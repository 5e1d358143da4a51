//! The files that make up a schema: migrations, applied once, and sources, applied whenever they
//! changed.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use include_dir::{Dir, include_dir};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};

static MIGRATIONS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/migrations");
static SOURCES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/sql");

/// The source that runs before the migrations, because it creates the roles that they need.
pub(super) const ROLES: &str = "sql/00_roles/roles.sql";

/// Whether clients that do not know a migration can live with what it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compatibility {
    /// Older clients work on: something was added, nothing that they use was changed.
    Additive,
    /// Clients that do not know this migration must not touch the schema any more.
    Breaking,
}

impl Compatibility {
    /// The word in the first line of a migration and in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Additive => "additive",
            Self::Breaking => "breaking",
        }
    }

    /// Anything that is not known to be additive breaks older clients.
    pub(super) fn from_ledger(word: &str) -> Self {
        if word == Self::Additive.as_str() { Self::Additive } else { Self::Breaking }
    }

    fn declared_by(sql: &str) -> Option<Self> {
        match sql.lines().next()? {
            "-- compatibility: additive" => Some(Self::Additive),
            "-- compatibility: breaking" => Some(Self::Breaking),
            _ => None,
        }
    }
}

impl fmt::Display for Compatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The release that brings a set of files: major, minor, patch.
pub type Release = [i32; 3];

/// A migration file: refinery's view of it, and its declared compatibility.
#[derive(Clone, Debug)]
pub(super) struct Migration {
    pub(super) inner: refinery_core::Migration,
    pub(super) compatibility: Compatibility,
}

impl Migration {
    fn parse(file_name: &str, sql: &str) -> Result<Self> {
        let inner = refinery_core::Migration::unapplied(file_name, sql)
            .ok()
            // refinery also knows `U` for unversioned ones, and ignores whatever follows a name.
            .filter(|migration| {
                file_name == format!("V{}__{}.sql", migration.version(), migration.name())
            })
            .ok_or_else(|| {
                Error::new(ErrorKind::Schema, "malformed name of a migration file")
                    .detail(format!("migrations/{file_name}"))
                    .hint("name it V<number>__<name>.sql, the name in letters, digits and _")
            })?;
        let compatibility = Compatibility::declared_by(sql).ok_or_else(|| {
            Error::new(ErrorKind::Schema, "a migration does not declare its compatibility")
                .detail(format!("migrations/{file_name}"))
                .hint("begin it with `-- compatibility: additive` or `-- compatibility: breaking`")
        })?;
        Ok(Self { inner, compatibility })
    }

    pub(super) fn sql(&self) -> &str {
        self.inner.sql().unwrap_or_default()
    }

    pub(super) fn path(&self) -> String {
        format!("migrations/{}.sql", self.inner)
    }
}

/// One repeatable source.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) sql: String,
    pub(super) checksum: String,
}

impl Source {
    fn new(sql: String) -> Self {
        let checksum = Sha256::digest(&sql).iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        Self { sql, checksum }
    }
}

/// A whole schema as files: what [`Runner`](super::Runner) installs.
#[derive(Clone, Debug)]
pub struct Sources {
    pub(super) release: Release,
    /// In order of their versions.
    pub(super) migrations: Vec<Migration>,
    /// By path, which is the order in which they are applied.
    pub(super) repeatable: BTreeMap<String, Source>,
}

impl Sources {
    /// The files of this crate.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if one of them is malformed, which the test suite rules out.
    pub fn embedded() -> Result<Self> {
        Self::new(
            [
                number(env!("CARGO_PKG_VERSION_MAJOR"))?,
                number(env!("CARGO_PKG_VERSION_MINOR"))?,
                number(env!("CARGO_PKG_VERSION_PATCH"))?,
            ],
            sql_files(&MIGRATIONS),
            sql_files(&SOURCES).into_iter().map(|(path, sql)| (format!("sql/{path}"), sql)),
        )
    }

    /// A schema of other files, as tests and tools need it: migrations as `(file name, content)`
    /// and sources as `(path, content)`, among them `sql/00_roles/roles.sql`.
    ///
    /// # Errors
    /// [`ErrorKind::Schema`] if a migration's name is not `V<number>__<name>.sql`, its first line
    /// does not declare its compatibility, two share a version, or the roles are missing.
    pub fn new(
        release: Release,
        migrations: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
        sources: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>,
    ) -> Result<Self> {
        let mut migrations = migrations
            .into_iter()
            .map(|(name, sql)| Migration::parse(&name.into(), &sql.into()))
            .collect::<Result<Vec<_>>>()?;
        migrations.sort_by_key(|migration| migration.inner.version());
        if let Some(twins) =
            migrations.windows(2).find(|pair| pair[0].inner.version() == pair[1].inner.version())
        {
            return Err(Error::new(ErrorKind::Schema, "two migrations share a version")
                .detail(format!("{} and {}", twins[0].path(), twins[1].path())));
        }
        let repeatable: BTreeMap<String, _> =
            sources.into_iter().map(|(path, sql)| (path.into(), Source::new(sql.into()))).collect();
        if !repeatable.contains_key(ROLES) {
            return Err(
                Error::new(ErrorKind::Schema, "the source of the roles is missing").detail(ROLES)
            );
        }
        Ok(Self { release, migrations, repeatable })
    }

    pub(super) fn migration(&self, version: i32) -> Option<&Migration> {
        self.migrations.iter().find(|migration| migration.inner.version() == version)
    }

    /// The content of the source that runs first.
    pub(super) fn roles(&self) -> &str {
        self.repeatable.get(ROLES).map_or("", |source| &source.sql)
    }

    /// The sources that run after the migrations, in order.
    pub(super) fn after_migrations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.repeatable
            .iter()
            .filter(|(path, _)| *path != ROLES)
            .map(|(path, source)| (path.as_str(), source.sql.as_str()))
    }
}

/// All `.sql` files below a folder, with their paths in it.
fn sql_files(folder: &Dir<'_>) -> Vec<(String, String)> {
    let below = folder.dirs().flat_map(sql_files);
    let here = folder
        .files()
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "sql"))
        .map(|file| {
            let content = String::from_utf8_lossy(file.contents()).into_owned();
            (file.path().display().to_string(), content)
        });
    here.chain(below).collect()
}

fn number(text: &str) -> Result<i32> {
    text.parse().map_err(|error| {
        Error::new(ErrorKind::Schema, "the crate's version is not a number").caused_by(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(file_name: &str, sql: &str) -> String {
        Migration::parse(file_name, sql).expect_err("malformed").to_string()
    }

    #[test]
    fn every_embedded_file_is_well_formed() {
        let sources = Sources::embedded().expect("well-formed files");
        assert_eq!(sources.migrations.len(), sql_files(&MIGRATIONS).len());
        for path in sources.repeatable.keys() {
            assert!(path.starts_with("sql/"), "{path}");
        }
    }

    #[test]
    fn a_migration_declares_its_compatibility_in_its_first_line() {
        let additive =
            Migration::parse("V7__add.sql", "-- compatibility: additive\n").expect("fine");
        assert_eq!(additive.compatibility, Compatibility::Additive);
        for sql in ["", "select 1;", "\n-- compatibility: additive", "-- compatibility: maybe\n"] {
            assert_eq!(
                refusal("V1__a.sql", sql),
                "a migration does not declare its compatibility",
                "{sql:?}"
            );
        }
    }

    #[test]
    fn a_migration_has_a_plain_name() {
        for name in ["U1__a.sql", "V1_a.sql", "V1__a-b.sql", "V1__a", "V01__a.sql", "V1.5__a.sql"] {
            assert_eq!(
                refusal(name, "-- compatibility: additive\n"),
                "malformed name of a migration file",
                "{name}"
            );
        }
    }

    #[test]
    fn a_version_is_taken_once() {
        let sql = "-- compatibility: additive\n";
        let error =
            Sources::new([0, 1, 0], [("V1__a.sql", sql), ("V1__b.sql", sql)], [(ROLES, "")])
                .expect_err("a double version");
        assert_eq!(error.detail_text(), Some("migrations/V1__a.sql and migrations/V1__b.sql"));
    }
}
