//! The one command that brings PostgreSQL to this system.

use std::fs;

/// How to install PostgreSQL here, as a sentence.
pub(super) fn install_postgresql() -> String {
    if cfg!(target_os = "macos") {
        return "install PostgreSQL: brew install postgresql@17".to_owned();
    }
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let Some(command) = command_for(&release) else {
        return "install PostgreSQL 15 or newer (its server package), or start Docker".to_owned();
    };
    let sudo = if nix::unistd::geteuid().is_root() { "" } else { "sudo " };
    format!("install PostgreSQL: {sudo}{command}")
}

/// The command for the system that `/etc/os-release` describes.
fn command_for(release: &str) -> Option<&'static str> {
    let field = |name: &str| {
        release
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches(['"', '\'']))
            .unwrap_or_default()
    };
    let mut family = std::iter::once(field("ID")).chain(field("ID_LIKE").split_whitespace());
    family.find_map(|id| match id {
        "debian" | "ubuntu" => Some("apt-get install -y postgresql"),
        "fedora" => Some("dnf install -y postgresql-server"),
        // Its default stream is older than 15.
        "rhel" | "centos" => Some("dnf module install -y postgresql:16/server"),
        "alpine" => Some("apk add postgresql"),
        "arch" => Some("pacman -S --noconfirm postgresql"),
        "suse" | "opensuse" => Some("zypper install -y postgresql-server"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::command_for;

    #[test]
    fn the_command_is_the_one_of_the_system_or_of_its_family() {
        let commands = [
            ("ID=debian\n", Some("apt-get install -y postgresql")),
            (
                "NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"",
                Some("apt-get install -y postgresql"),
            ),
            (
                "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"",
                Some("dnf module install -y postgresql:16/server"),
            ),
            ("ID=fedora", Some("dnf install -y postgresql-server")),
            ("ID=alpine", Some("apk add postgresql")),
            ("ID=arch", Some("pacman -S --noconfirm postgresql")),
            (
                "ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"",
                Some("zypper install -y postgresql-server"),
            ),
            ("ID=plan9", None),
            ("", None),
        ];
        for (release, command) in commands {
            assert_eq!(command_for(release), command, "{release}");
        }
    }
}
