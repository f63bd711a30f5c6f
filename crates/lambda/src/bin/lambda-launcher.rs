//! The sandbox helper process of this crate's own tests; the product uses a hidden subcommand instead.

fn main() {
    sandbox::launcher_main()
}
