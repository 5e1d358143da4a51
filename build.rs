//! Rebuilds when a file is added: `include_dir!` embeds these folders, but cargo watches only
//! the files that it saw at the last build.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
    println!("cargo::rerun-if-changed=sql");
}
