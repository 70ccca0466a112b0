//! What rustc says of programs: right ones compile, run and have the types they claim, shadows included; wrong ones give exactly
//! their own errors, each at the right place.

#[test]
fn programs() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
