"""Tables, lines and words for people, made from the API's objects: for the command line, the
terminal UI and web pages. Pure. Nothing is loaded here: `hostler gpus` takes single modules of
it."""
