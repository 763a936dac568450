//! `SQLite`'s result codes in the store's words.

use std::path::Path;

use sqlx::Error;

use crate::store::StoreError;

/// Primary result codes, <https://www.sqlite.org/rescode.html>.
mod code {
    pub(super) const CORRUPT: i64 = 11;
    pub(super) const FULL: i64 = 13;
    pub(super) const SCHEMA: i64 = 17;
    pub(super) const TOO_BIG: i64 = 18;
    pub(super) const CONSTRAINT: i64 = 19;
    pub(super) const MISMATCH: i64 = 20;
    pub(super) const RANGE: i64 = 25;
    pub(super) const NOT_A_DATABASE: i64 = 26;
    /// No such table, a bad statement: the file does not hold what its version says.
    pub(super) const ERROR: i64 = 1;
}

/// What an error of the database means to who called the store.
#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
pub(super) fn store_error(error: Error) -> StoreError {
    let detail = error.to_string();
    match &error {
        Error::Database(reported) => {
            // Extended codes carry the primary one in their lowest byte.
            let extended = reported.code().and_then(|code| code.parse::<i64>().ok());
            match extended.map(|extended| extended & 0xff) {
                Some(code::FULL) => StoreError::Full { detail },
                Some(
                    code::CORRUPT
                    | code::SCHEMA
                    | code::TOO_BIG
                    | code::CONSTRAINT
                    | code::MISMATCH
                    | code::RANGE
                    | code::NOT_A_DATABASE
                    | code::ERROR,
                ) => StoreError::Corrupt { detail },
                // Locked, read-only, unreadable, out of memory and whatever else may pass.
                _ => StoreError::Unavailable { detail },
            }
        }
        Error::RowNotFound
        | Error::Protocol(_)
        | Error::TypeNotFound { .. }
        | Error::ColumnIndexOutOfBounds { .. }
        | Error::ColumnNotFound(_)
        | Error::ColumnDecode { .. }
        | Error::Decode(_)
        | Error::Encode(_) => StoreError::Corrupt { detail },
        _ => StoreError::Unavailable { detail },
    }
}

/// The same with the file's name, where opening failed.
pub(super) fn of_file(error: StoreError, path: &Path) -> StoreError {
    let named = |detail: String| format!("{}: {detail}", path.display());
    match error {
        StoreError::Full { detail } => StoreError::Full { detail: named(detail) },
        StoreError::Unavailable { detail } => StoreError::Unavailable { detail: named(detail) },
        StoreError::Corrupt { detail } => StoreError::Corrupt { detail: named(detail) },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::error::Error as StdError;
    use std::fmt;

    use sqlx::error::{DatabaseError, ErrorKind};

    use super::*;

    #[derive(Debug)]
    struct Reported(i64);

    impl fmt::Display for Reported {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "code {}", self.0)
        }
    }

    impl StdError for Reported {}

    impl DatabaseError for Reported {
        fn message(&self) -> &'static str {
            "reported"
        }

        fn code(&self) -> Option<Cow<'_, str>> {
            Some(self.0.to_string().into())
        }

        fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> ErrorKind {
            ErrorKind::Other
        }
    }

    #[test]
    fn codes_are_told_apart() {
        let names = |error: StoreError| match error {
            StoreError::Full { .. } => "full",
            StoreError::Unavailable { .. } => "unavailable",
            StoreError::Corrupt { .. } => "corrupt",
            other => unreachable!("{other:?}"),
        };
        let cases = [
            (13, "full"),
            (5, "unavailable"),
            // SQLITE_BUSY_SNAPSHOT
            (517, "unavailable"),
            (6, "unavailable"),
            // SQLITE_READONLY_DBMOVED
            (1_032, "unavailable"),
            // SQLITE_IOERR_WRITE
            (778, "unavailable"),
            (14, "unavailable"),
            (11, "corrupt"),
            // SQLITE_CORRUPT_INDEX
            (779, "corrupt"),
            (26, "corrupt"),
            (1, "corrupt"),
            // SQLITE_CONSTRAINT_UNIQUE
            (2_067, "corrupt"),
        ];
        for (code, name) in cases {
            let error = Error::Database(Box::new(Reported(code)));
            assert_eq!(names(store_error(error)), name, "{code}");
        }
        assert_eq!(names(store_error(Error::PoolTimedOut)), "unavailable");
        assert_eq!(names(store_error(Error::PoolClosed)), "unavailable");
        assert_eq!(names(store_error(Error::RowNotFound)), "corrupt");
    }
}
