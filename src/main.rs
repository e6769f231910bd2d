//! The program.

use std::process::ExitCode;

fn main() -> ExitCode {
    hopwise::cli::main()
}
