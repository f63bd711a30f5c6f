//! API sketch; filled next.

/// What the helper process runs; never returns.
#[expect(clippy::exit, reason = "this process is the helper and ends here")]
pub fn launcher_main() -> ! {
    std::process::exit(1)
}
