"""What is made from the declarations of the keys: the example, the schema, the reference."""
