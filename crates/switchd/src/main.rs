//! The program `switchd`; all of it is in the library beside it.

fn main() -> std::process::ExitCode {
    switchd::run()
}
