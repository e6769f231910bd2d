//! The only place of the configuration that reads anything but the text it is given.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;

use super::Secret;
use super::reader::Fault;

/// The admin token, where no file names one.
pub(super) const ADMIN_TOKEN_VARIABLE: &str = "HOPWISE_ADMIN_TOKEN";

/// Fewest bytes in a secret: fewer can be guessed.
pub(super) const SECRET_BYTES_MIN: usize = 16;

/// Most bytes in a file with a secret: more is some other file.
const FILE_BYTES_MAX: u64 = 4096;

const MAKE_ONE: &str = "make one with `openssl rand -hex 32`";

/// The admin token that the environment gives, if any; an empty one is none.
pub(super) fn token_variable() -> Option<OsString> {
    std::env::var_os(ADMIN_TOKEN_VARIABLE).filter(|token| !token.is_empty())
}

/// The secret in the file at `path`, without the white space around it.
pub(super) fn read_file(path: &str) -> Result<Secret, Fault> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let fault = format!("has more than {FILE_BYTES_MAX} bytes");
        return Err(Fault::new(fault, "name the file that holds the secret alone"));
    }
    accept(&bytes)
}

/// A file that cannot be read.
pub(super) fn unreadable(error: &std::io::Error) -> Fault {
    let remedy = "name a file that hopwise may read; relative paths start at its working directory";
    Fault::new(format!("cannot be read: {error}"), remedy)
}

/// The secret `bytes`, without the white space around it, if it can be one.
pub(super) fn accept(bytes: &[u8]) -> Result<Secret, Fault> {
    let bytes = bytes.trim_ascii();
    if bytes.len() < SECRET_BYTES_MIN {
        return Err(Fault::new(format!("has fewer than {SECRET_BYTES_MIN} bytes"), MAKE_ONE));
    }
    Ok(Secret::new(bytes))
}

/// The admin token in `secret`, if a header can carry it.
pub(super) fn accept_token(secret: Secret) -> Result<Secret, Fault> {
    if secret.as_bytes().iter().all(u8::is_ascii_graphic) {
        Ok(secret)
    } else {
        Err(Fault::new("has characters that no header can carry", MAKE_ONE))
    }
}
