//! The wide layout: one candidate a line, one column per data size.

use super::CurvePoint;
use super::cell;
use super::delimited::{self, Common, Sheet};
use super::error::CurveFileError;
use super::gather::Gather;

/// What a column of a wide file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Name,
    Loss(u64),
    Common(Common),
}

/// Reads all lines into `gather`.
pub(super) fn read(text: &str, delimiter: u8, gather: &mut Gather<'_>) -> Result<(), CurveFileError> {
    let mut sheet = Sheet::open(text, delimiter, gather)?;
    let roles = roles(&sheet, gather)?;
    let columns: Vec<(Role, String)> = roles.into_iter().zip(sheet.header.clone()).collect();
    while let Some((row, record)) = sheet.next(0, gather)? {
        let name_column = columns.first().map_or("", |(_, header)| header.as_str());
        let Some(slot) = gather.new_candidate(record.get(0).unwrap_or_default(), row, name_column) else {
            continue;
        };
        for ((role, header), value) in columns.iter().zip(record) {
            match role {
                Role::Loss(_) if value.is_empty() => {}
                Role::Loss(data_size) => match cell::loss(value) {
                    Ok(test_loss) => {
                        let point = CurvePoint {
                            data_size: *data_size,
                            test_loss,
                            standard_error: None,
                            weight: None,
                        };
                        gather.observe(slot, row, point)?;
                    }
                    Err(message) => gather.reject(slot, row, header, message),
                },
                Role::Common(Common::Parameters) => gather.parameters(slot, row, header, value),
                Role::Common(Common::Family) => gather.family(slot, row, header, value),
                Role::Common(Common::Attribute) => gather.attribute(slot, row, header, value),
                Role::Name | Role::Common(Common::Unnamed) => {}
            }
        }
    }
    Ok(())
}

/// The roles of the columns, each meaning at most once.
fn roles(sheet: &Sheet<'_>, gather: &mut Gather<'_>) -> Result<Vec<Role>, CurveFileError> {
    let mut roles = Vec::with_capacity(sheet.header.len());
    let mut seen = std::collections::HashMap::new();
    for (index, header) in sheet.header.iter().enumerate() {
        let role = role(index, header).map_err(|reason| CurveFileError::BadSizeColumn {
            file: gather.file().to_owned(),
            row: sheet.header_row,
            column: cell::shown(header),
            reason,
        })?;
        let meaning = match role {
            Role::Name | Role::Common(Common::Attribute) => header.clone(),
            Role::Loss(size) => size.to_string(),
            Role::Common(Common::Parameters) => "parameters".to_owned(),
            Role::Common(Common::Family) => "family".to_owned(),
            Role::Common(Common::Unnamed) => String::new(),
        };
        if role != Role::Common(Common::Unnamed)
            && let Some(first) = seen.insert(meaning, index)
        {
            return Err(delimited::duplicate(sheet, first, index, gather));
        }
        if role == Role::Common(Common::Attribute) && cell::looks_like_size(header) {
            let shown = cell::shown(header);
            gather.note(format!(
                "{}: column `{shown}` is kept as an attribute: a data size is a plain whole number",
                gather.file()
            ));
        }
        roles.push(role);
    }
    if !roles.iter().any(|role| matches!(role, Role::Loss(_))) {
        return Err(CurveFileError::NoSizeColumns {
            file: gather.file().to_owned(),
            row: sheet.header_row,
        });
    }
    let attributes = roles
        .iter()
        .zip(&sheet.header)
        .filter(|(role, _)| **role == Role::Common(Common::Attribute));
    delimited::check_attributes(attributes.map(|(_, header)| header.as_str()), sheet.header_row, gather)?;
    Ok(roles)
}

fn role(index: usize, header: &str) -> Result<Role, &'static str> {
    if index == 0 {
        return Ok(Role::Name);
    }
    match cell::size_header(header) {
        Some(size) => size.map(Role::Loss),
        None => Ok(Role::Common(Common::of(header))),
    }
}
