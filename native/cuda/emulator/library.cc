/** The emulated library has no code of its own: it is what it links. */
