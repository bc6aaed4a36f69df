use super::*;

#[test]
fn every_type_is_written_as_it_is_read() {
    for entry in TYPES {
        let name = entry.name.replace("(n)", "(12)").replace("(p,s)", "(12,2)");
        let parsed: ColumnType = name.parse().unwrap();
        assert_eq!(parsed.to_string(), name);
        assert_eq!(parsed.element(), entry.element);
        let array: Result<ColumnType, _> = format!("{name}[]").parse();
        assert_eq!(array.is_err(), parsed.is_json(), "{name}[]");
        if let Ok(array) = array {
            assert_eq!(
                (array.to_string(), array.element()),
                (format!("{name}[]"), entry.array.clone())
            );
        }
    }
    assert_eq!("numeric(12, 2)".parse(), Ok(T::NumericOf(12, 2)));
    assert_eq!("numeric(5)".parse(), Ok(T::NumericOf(5, 0)));
}

/// In postgres_types an array of `int4` is `_int4`.
#[test]
fn every_array_type_is_that_of_its_element() {
    for Entry { element, array, .. } in TYPES {
        assert_eq!(array.name(), format!("_{}", element.name()));
    }
}

#[test]
fn a_type_that_postgres_does_not_have_or_a_length_that_it_refuses_is_unknown() {
    for name in [
        "int",
        "VARCHAR(3)",
        "varchar",
        "varchar()",
        "varchar(0)",
        "varchar(-1)",
        "varchar(10485761)",
        "varchar(n)",
        "numeric()",
        "numeric(0)",
        "numeric(2,3)",
        "numeric(1001)",
        "numeric(3,-1)",
        "text[][]",
        "jsonb[]",
        "[]",
    ] {
        assert_eq!(name.parse::<ColumnType>(), Err(UnknownType), "{name}");
    }
}

#[test]
fn what_a_type_is_called_elsewhere_is_understood() {
    let cases = [
        ("int", "integer"),
        ("VARCHAR(3)", "varchar(3)"),
        ("varchar", "varchar(n)"),
        ("varchar(0)", "varchar(n)"),
        ("character varying(20)", "varchar(20)"),
        ("decimal(10, 2)", "numeric(10,2)"),
        ("decimal", "numeric"),
        ("numeric(2,3)", "numeric(p,s)"),
        ("string", "text"),
        ("bool", "boolean"),
        ("float", "double precision"),
        ("double", "double precision"),
        ("datetime", "timestamptz"),
        ("timestamptz(3)", "timestamptz"),
        ("JSONB", "jsonb"),
        ("jsonb[]", "jsonb"),
        ("int[]", "integer[]"),
        ("array", "text[]"),
        ("timestamtz", "timestamptz"),
    ];
    for (there, here) in cases {
        assert_eq!(ColumnType::meant(there).as_deref(), Some(here), "{there}");
    }
    assert_eq!(ColumnType::meant("tsvector"), None);
    for (there, here) in ELSEWHERE {
        let here = here.replace("(n)", "(1)").replace("(p,s)", "(1,0)");
        assert!(here.parse::<ColumnType>().is_ok(), "{there}");
    }
}
