#version 330
in vec3 position; in vec3 normal; uniform mat4 light;
void main() { gl_Position = light * vec4(position - 0.015 * normal, 1.0); }
