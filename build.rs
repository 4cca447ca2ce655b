//! A new migration must reach the binary that embeds it.
fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
