//! Asks who the person is, and for the one-time code.

use anyhow::bail;

use super::Terminal;
use crate::{
    chat::{ChatArgs, api::SignedIn, input::Line},
    i18n::text,
};

/// One-time codes that are asked for before giving up.
const MAX_CODES: u32 = 3;

impl Terminal {
    /// `None` when the input ended before anybody was signed in.
    pub(super) async fn sign_in(&mut self, args: &ChatArgs) -> anyhow::Result<Option<SignedIn>> {
        let phone = if let Some(phone) = &args.phone {
            phone.clone()
        } else {
            self.say("chat-ask-phone", &[])?;
            let Some(phone) = self.answer().await else {
                return Ok(None);
            };
            phone
        };
        let name = args.name.as_deref();
        if args.no_code {
            match self.api.register(&phone, name).await {
                Err(error) if error.is("AUTH_PROOF_REQUIRED") => self.complain(&error)?,
                outcome => return outcome.map(Some).or_else(|error| bail!(self.words(&error))),
            }
        }
        for _ in 0..MAX_CODES {
            let verification = match self.api.send_code(&phone).await {
                Ok(verification) => verification,
                Err(error) => bail!(self.words(&error)),
            };
            self.say("chat-ask-code", &[])?;
            loop {
                let Some(code) = self.answer().await else {
                    return Ok(None);
                };
                match self.api.verify(verification, &code, name).await {
                    Ok(signed_in) => return Ok(Some(signed_in)),
                    Err(error) if error.is("AUTH_PHONE_CODE_INVALID") => self.complain(&error)?,
                    Err(error) if error.is("AUTH_PHONE_CODE_EXPIRED") => {
                        self.complain(&error)?;
                        break;
                    }
                    Err(error) => bail!(self.words(&error)),
                }
            }
        }
        bail!(text(self.language, "chat-ended-signed-out", &[]))
    }

    /// The next line that is not blank.
    async fn answer(&mut self) -> Option<String> {
        loop {
            if let Line::Text(line) = self.lines.next().await?
                && !line.trim().is_empty()
            {
                return Some(line.trim().to_owned());
            }
        }
    }
}
