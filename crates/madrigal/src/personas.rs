//! Where personas are looked for.

use std::path::PathBuf;

use clap::Args;
use madrigal_agents::persona::PersonaLibrary;

/// The folders of personas.
#[derive(Debug, Clone, Args)]
pub(crate) struct PersonaFolders {
    /// Folder with more personas; may be given more than once [default: personas, if it is there]
    #[arg(long = "personas", value_name = "DIR", env = "MADRIGAL_PERSONAS")]
    folders: Vec<PathBuf>,
}

impl PersonaFolders {
    /// The built-in personas and those of the folders.
    pub(crate) fn library(&self) -> PersonaLibrary {
        library(&self.folders)
    }
}

/// The built-in personas and those of `folders`, or of the usual folder where none is named.
pub(crate) fn library(folders: &[PathBuf]) -> PersonaLibrary {
    let usual = PathBuf::from("personas");
    let folders = if folders.is_empty() && usual.is_dir() { vec![usual] } else { folders.to_vec() };
    PersonaLibrary::new(folders)
}
