//! The password file of libpq: lines of `host:port:database:user:password`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use tracing::warn;

/// Whom a password is wanted for.
pub(crate) struct Wanted<'a> {
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) database: &'a str,
    pub(crate) user: &'a str,
}

/// The password on the first line that fits. A file that others may read is ignored, as by
/// libpq.
pub(crate) fn look_up(file: &Path, wanted: &Wanted<'_>) -> Option<String> {
    let metadata = fs::metadata(file).ok().filter(fs::Metadata::is_file)?;
    if metadata.mode() & 0o077 != 0 {
        warn!("{} is ignored: its permissions should be 0600", file.display());
        return None;
    }
    find(&fs::read_to_string(file).ok()?, wanted)
}

fn find(lines: &str, wanted: &Wanted<'_>) -> Option<String> {
    let port = wanted.port.to_string();
    let wanted = [wanted.host, &port, wanted.database, wanted.user];
    lines.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = fields(line);
        let password = (fields.len() == 5).then(|| fields.pop())??;
        let fits = |(field, wanted): (&String, &&str)| field == "*" || field == wanted;
        fields.iter().zip(&wanted).all(fits).then_some(password)
    })
}

/// Splits at colons; a backslash makes the next character part of the field.
fn fields(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut chars = line.chars();
    while let Some(char) = chars.next() {
        match char {
            ':' => fields.push(std::mem::take(&mut field)),
            '\\' => field.extend(chars.next()),
            other => field.push(other),
        }
    }
    fields.push(field);
    fields
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const LINES: &str = r"# host:port:database:user:password
too:few:fields
db1:5432:platform:manager:first
db1:*:*:manager:se\:co\\nd
*:*:*:viewer:third
";

    fn wanted<'a>(host: &'a str, database: &'a str, user: &'a str) -> Wanted<'a> {
        Wanted { host, port: 5432, database, user }
    }

    #[test]
    fn the_first_line_that_fits_decides() {
        let find = |host, database, user| find(LINES, &wanted(host, database, user));
        assert_eq!(find("db1", "platform", "manager").as_deref(), Some("first"));
        assert_eq!(find("db1", "other", "manager").as_deref(), Some(r"se:co\nd"));
        assert_eq!(find("db2", "platform", "viewer").as_deref(), Some("third"));
        assert_eq!(find("db2", "platform", "manager"), None);
    }

    #[test]
    fn a_file_that_others_may_read_is_ignored() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(LINES.as_bytes()).expect("written");
        let wanted = wanted("db1", "platform", "manager");
        assert_eq!(look_up(file.path(), &wanted).as_deref(), Some("first"));
        let open = fs::Permissions::from_mode(0o640);
        fs::set_permissions(file.path(), open).expect("opened");
        assert_eq!(look_up(file.path(), &wanted), None);
    }
}
