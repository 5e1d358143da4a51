//! stub
#[derive(Debug, clap::Args)]
pub(super) struct Replay;
impl Replay {
    pub(super) async fn run(self, _: &crate::Config, _: bool) -> crate::Result<super::Verdict> {
        Ok(super::Verdict::Fine)
    }
}
