//! The long layout: one observation a line.

use super::CurvePoint;
use super::cell;
use super::delimited::{self, Common, Sheet};
use super::error::CurveFileError;
use super::gather::{Gather, Slot};

/// What a column of a long file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Candidate,
    DataSize,
    TestLoss,
    StandardError,
    Weight,
    Common(Common),
}

/// The columns with a name of their own.
const NAMED: [(&str, Role); 5] = [
    ("candidate", Role::Candidate),
    ("data_size", Role::DataSize),
    ("test_loss", Role::TestLoss),
    ("standard_error", Role::StandardError),
    ("weight", Role::Weight),
];

/// The numbers of one line while its cells are read.
#[derive(Default)]
struct Numbers {
    data_size: Option<u64>,
    test_loss: Option<f64>,
    standard_error: Option<f64>,
    weight: Option<f64>,
}

/// Reads all lines into `gather`.
pub(super) fn read(text: &str, delimiter: u8, gather: &mut Gather<'_>) -> Result<(), CurveFileError> {
    let mut sheet = Sheet::open(text, delimiter, gather)?;
    let roles = roles(&sheet, gather)?;
    let columns: Vec<(Role, String)> = roles.into_iter().zip(sheet.header.clone()).collect();
    let name_at = columns
        .iter()
        .position(|(role, _)| *role == Role::Candidate)
        .unwrap_or(0);
    while let Some((row, record)) = sheet.next(name_at, gather)? {
        let Some(slot) = gather.candidate(record.get(name_at).unwrap_or_default(), row, "candidate") else {
            continue;
        };
        let mut numbers = Numbers::default();
        for ((role, header), value) in columns.iter().zip(record) {
            let read = match role {
                Role::Common(common) => {
                    shared(gather, slot, row, *common, header, value);
                    Ok(())
                }
                Role::Candidate => Ok(()),
                _ if value.is_empty() => Ok(()),
                role => numbers.read(*role, value),
            };
            if let Err(message) = read {
                gather.reject(slot, row, header, message);
            }
        }
        let Some(test_loss) = numbers.test_loss else { continue };
        match numbers.data_size {
            Some(data_size) => {
                let (standard_error, weight) = (numbers.standard_error, numbers.weight);
                gather.observe(
                    slot,
                    row,
                    CurvePoint {
                        data_size,
                        test_loss,
                        standard_error,
                        weight,
                    },
                )?;
            }
            None if gather.is_rejected(slot) => {}
            None => gather.reject(slot, row, "data_size", "a loss without a data size".to_owned()),
        }
    }
    Ok(())
}

impl Numbers {
    /// Reads a cell that is not empty.
    fn read(&mut self, role: Role, value: &str) -> Result<(), String> {
        match role {
            Role::DataSize => self.data_size = Some(cell::whole(value, "data size")?),
            Role::TestLoss => self.test_loss = Some(cell::loss(value)?),
            Role::StandardError => {
                let error = cell::number(value, "the standard error")?;
                self.standard_error = Some(cell::check_standard_error(error, value)?);
            }
            Role::Weight => self.weight = Some(cell::check_weight(cell::number(value, "the weight")?, value)?),
            Role::Candidate | Role::Common(_) => {}
        }
        Ok(())
    }
}

/// A column that belongs to the candidate, not to the observation.
fn shared(gather: &mut Gather<'_>, slot: Slot, row: usize, common: Common, header: &str, value: &str) {
    match common {
        Common::Parameters => gather.parameters(slot, row, header, value),
        Common::Family => gather.family(slot, row, header, value),
        Common::Attribute => gather.attribute(slot, row, header, value),
        Common::Unnamed => {}
    }
}

/// The roles of the columns, each meaning at most once, the needed ones present.
fn roles(sheet: &Sheet<'_>, gather: &Gather<'_>) -> Result<Vec<Role>, CurveFileError> {
    let roles: Vec<Role> = sheet.header.iter().map(|header| role(header)).collect();
    let mut seen = std::collections::HashMap::new();
    for (index, (role, header)) in roles.iter().zip(&sheet.header).enumerate() {
        let meaning = match role {
            Role::Common(Common::Unnamed) => continue,
            Role::Common(Common::Attribute) => header.clone(),
            role => format!("{role:?}"),
        };
        // A prefix no header can have: headers are trimmed.
        let meaning = if *role == Role::Common(Common::Attribute) {
            meaning
        } else {
            format!(" {meaning}")
        };
        if let Some(first) = seen.insert(meaning, index) {
            return Err(delimited::duplicate(sheet, first, index, gather));
        }
    }
    for (column, needed) in NAMED.iter().take(3) {
        if !roles.contains(needed) {
            return Err(CurveFileError::MissingColumn {
                file: gather.file().to_owned(),
                row: sheet.header_row,
                column,
            });
        }
    }
    let attributes = roles
        .iter()
        .zip(&sheet.header)
        .filter(|(role, _)| **role == Role::Common(Common::Attribute));
    delimited::check_attributes(attributes.map(|(_, header)| header.as_str()), sheet.header_row, gather)?;
    Ok(roles)
}

fn role(header: &str) -> Role {
    NAMED
        .iter()
        .find(|(name, _)| header.eq_ignore_ascii_case(name))
        .map_or_else(|| Role::Common(Common::of(header)), |(_, role)| *role)
}
