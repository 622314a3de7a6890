"""From plain data to a picture: colours, boxes, a legend, the text of Graphviz and of Mermaid, and files."""
