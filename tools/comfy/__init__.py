"""The templates of the ComfyUI pack: described once, written in the editor's format and in the API's."""
